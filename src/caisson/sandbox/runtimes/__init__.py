"""Runtimes: what turns a workload's files and entrypoint into a job a sandbox can run."""

from caisson.sandbox.runtimes.planning import RUNTIMES, normalise, plan

__all__ = ["RUNTIMES", "normalise", "plan"]
