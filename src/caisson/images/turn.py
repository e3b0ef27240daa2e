"""One at a time, among tasks and processes: for work that takes minutes, and for work that takes a moment."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TextIO

WAIT_S = 0.5


@asynccontextmanager
async def turn(folder: Path, work: str, told: Callable[[], None]) -> AsyncIterator[None]:
    """Wait until nobody else does this work in `folder`, here or in another process; `told` is called meanwhile."""
    with _lock_of(folder, work) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                told()
                await asyncio.sleep(WAIT_S)
        yield


@contextmanager
def short_turn(folder: Path, work: str) -> Iterator[None]:
    """As `turn`, for work that takes a moment: the thread waits."""
    with _lock_of(folder, work) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lock_of(folder: Path, work: str) -> TextIO:
    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return (locks / work).open("w")
