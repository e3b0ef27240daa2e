"""Clean-up that a cancellation delays but never cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
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


async def acquired(work: Coroutine[Any, Any, T], release: Callable[[T], None]) -> T:
    """As `uninterrupted`, for work that gives what must be let go of: `release` gets what a cancellation keeps from the
    caller."""
    given: list[T] = []

    async def hold() -> T:
        given.append(await work)
        return given[0]

    try:
        return await uninterrupted(hold())
    except asyncio.CancelledError:
        for each in given:
            release(each)
        raise


class Teardown:
    """What must be undone: last in, first out, once, all of it, whatever fails or is cancelled meanwhile."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], Awaitable[None] | None]] = []

    def push(self, undo: Callable[[], Awaitable[None] | None]) -> None:
        """Have `undo` called before everything that was pushed earlier."""
        self._steps.append(undo)

    async def close(self) -> None:
        """Undo everything. Idempotent. Raises what failed, several failures together as a group."""
        await uninterrupted(self._close())

    async def _close(self) -> None:
        failures: list[Exception] = []
        while self._steps:
            try:
                pending = self._steps.pop()()
                if pending is not None:
                    await pending
            except Exception as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("clean-up failed", failures)
