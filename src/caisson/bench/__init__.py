"""Measures a real server through HTTP, beside its peers, and writes the figures down."""
