"""How many sandboxes should wait in each pool: pure decisions over recent demand and the memory there is."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

BURST_S = 1.0
"""Requests within this time count as one burst: what a pool must hold, because boots are no quicker than that."""
REMEMBERED_S = 60.0
"""For how long a burst is expected to come again."""


@dataclass(frozen=True, slots=True)
class Want:
    """What one pool would hold, if there were memory enough, and what one of its sandboxes costs while it waits."""

    sandboxes: int
    mem_mb: int


def shares(wants: Sequence[Want], budget_mb: int) -> list[int]:
    """How many sandboxes each pool may hold: never more than it wants, nor all of them more than the budget.

    Where it does not reach for all, the next sandbox goes to the pool that has the least memory so far: a pool that
    wants much takes nothing from one that wants little.
    """
    given = [0] * len(wants)
    left_mb = budget_mb
    turns = [(want.mem_mb, number) for number, want in enumerate(wants) if want.sandboxes > 0]
    heapq.heapify(turns)
    while turns:
        held_mb, number = heapq.heappop(turns)
        want = wants[number]
        if want.mem_mb > left_mb:
            continue
        given[number] += 1
        left_mb -= want.mem_mb
        if given[number] < want.sandboxes:
            heapq.heappush(turns, (held_mb + want.mem_mb, number))
    return given


@dataclass(slots=True)
class Demand:
    """The largest burst that was asked of one pool lately: rises at once, falls only when that is long ago."""

    _recent: deque[float] = field(default_factory=deque)
    """When sandboxes were asked for, within the last burst's time."""
    _peaks: deque[tuple[float, int]] = field(default_factory=deque)
    """Bursts and when they were, each larger than every later one."""

    def note(self, now_s: float) -> None:
        """One was asked for. Times never go back."""
        self._recent.append(now_s)
        while self._recent[0] <= now_s - BURST_S:
            self._recent.popleft()
        size = len(self._recent)
        while self._peaks and self._peaks[-1][1] <= size:
            self._peaks.pop()
        self._peaks.append((now_s, size))

    def burst(self, now_s: float) -> int:
        """How many were asked for in the largest burst that is remembered."""
        while self._peaks and self._peaks[0][0] <= now_s - REMEMBERED_S:
            self._peaks.popleft()
        return self._peaks[0][1] if self._peaks else 0


def wanted(least: int, burst: int, growth: float) -> int:
    """What a pool that is told to hold `least` would hold after a burst: at most `growth` times that; 0 stays 0."""
    return min(max(least, burst), max(least, int(least * growth)))
