"""Waits for a workload's end in long polls that no proxy cuts off."""

from __future__ import annotations

import time

from caisson.client import calls
from caisson.client.shapes import Workload

POLL_S = 20.0


class Wait:
    """One wait, with or without a limit."""

    def __init__(self, workload_id: str, timeout_s: float | None) -> None:
        self._workload_id = workload_id
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s

    def call(self) -> calls.Call[Workload]:
        """The next poll."""
        left_s = POLL_S if self._until is None else max(0.0, self._until - time.monotonic())
        return calls.get(self._workload_id, min(POLL_S, left_s))

    def check(self) -> None:
        """Raise TimeoutError when the time is up."""
        if self._until is not None and time.monotonic() >= self._until:
            raise TimeoutError(f"workload {self._workload_id} has not ended within {self._timeout_s:g} s")
