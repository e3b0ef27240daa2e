"""Runs the same programs on every isolation and keeps the figures: what is behind `/v1/benchmarks`."""
