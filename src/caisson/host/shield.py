"""Clean-up that a cancellation delays but never cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, whatever happens to the caller; a cancellation that arrived meanwhile is raised after."""
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:  # noqa: S110 - raised below by task.result(), after a cancellation if there was one
            pass
    if cancelled is not None and task.exception() is None:
        raise cancelled
    return task.result()
