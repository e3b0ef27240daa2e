"""Workload ids: ULIDs that never go back, so that sorting by id is sorting by acceptance."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ulid import ULID

_RANDOM_BITS = 80
_AHEAD = 256
"""Random values drawn from the kernel at once: each call lets other threads run, and getting back in turn is slow."""


class IdMaker:
    """Makes ULIDs in strictly rising order, also within a millisecond and when the clock is set back."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._last = 0
        self._random = b""

    def __call__(self) -> str:
        """The next id."""
        now_ms = self._now_ms()
        if now_ms > self._last >> _RANDOM_BITS:
            self._last = (now_ms << _RANDOM_BITS) | self._draw()
        else:
            # Within a millisecond the ULID specification adds one to the last value; guessing ids gains nothing,
            # because every look-up is by tenant.
            self._last += 1
        return str(ULID(self._last.to_bytes(16, "big")))

    def _draw(self) -> int:
        size = _RANDOM_BITS // 8
        if not self._random:
            self._random = os.urandom(_AHEAD * size)
        value, self._random = self._random[:size], self._random[size:]
        return int.from_bytes(value, "big")
