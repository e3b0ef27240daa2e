"""Which of the processes that run tests side by side this one is, for what the whole host has in common."""

from __future__ import annotations

import os


def worker_number() -> int | None:
    """This process's number among the workers of pytest-xdist; None if it runs the tests alone."""
    name = os.environ.get("PYTEST_XDIST_WORKER")
    return None if name is None else int(name.removeprefix("gw"))
