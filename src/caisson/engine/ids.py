"""Workload ids: ULIDs that never go back, so that sorting by id is sorting by acceptance."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from ulid import ULID

_RANDOM_BITS = 80


class IdMaker:
    """Makes ULIDs in strictly rising order, also within a millisecond and when the clock is set back."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._last = 0

    def __call__(self) -> str:
        """The next id."""
        now_ms = self._now_ms()
        if now_ms > self._last >> _RANDOM_BITS:
            self._last = (now_ms << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        else:
            # Within a millisecond the ULID specification adds one to the last value; guessing ids gains nothing,
            # because every look-up is by tenant.
            self._last += 1
        return str(ULID(self._last.to_bytes(16, "big")))
