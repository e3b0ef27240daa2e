"""Work that is cancelled while a thread of it goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest

PATIENCE_S = 30


async def cancel_while_held(task: asyncio.Task[object], begun: threading.Event, go_on: threading.Event) -> None:
    """Cancel a task when its thread has `begun`; it must not be over before that thread was told to `go_on`."""
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    over_too_early = task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not over_too_early
