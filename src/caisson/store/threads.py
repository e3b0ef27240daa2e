"""Threads that are all there before there is work, so that none need be made where no more can be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def standing_threads(count: int, name: str) -> ThreadPoolExecutor:
    """An executor of so many threads, begun already."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    # An executor makes one only while none is idle: here none is before all have met.
    met = Barrier(count)
    for waiting in [pool.submit(met.wait) for _ in range(count)]:
        waiting.result()
    return pool
