"""One at a time, among tasks and processes, for work that takes minutes."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

WAIT_S = 0.5


@asynccontextmanager
async def turn(folder: Path, work: str, told: Callable[[], None]) -> AsyncIterator[None]:
    """Wait until nobody else does this work in `folder`, here or in another process; `told` is called meanwhile."""
    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / work).open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                told()
                await asyncio.sleep(WAIT_S)
        yield
