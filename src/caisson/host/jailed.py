"""The two processes of a sandbox, bubblewrap outside and the guest as process 1 inside, which end together."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress

from caisson.host.pidfd import Followed
from caisson.host.pipes import readable
from caisson.host.process import Process

_PATIENCE_S = 2.0
_READ_BYTES = 4096


class JailNotBuilt(Exception):
    """Bubblewrap ended before there was a process inside."""


class Jailed:
    """Owns the outer process, started with a process group of its own, and the pipe on which bubblewrap tells of the
    inner one."""

    def __init__(self, outer: Process, info_fd: int) -> None:
        self._outer = outer
        self._info_fd = info_fd
        os.set_blocking(info_fd, False)
        self._info = b""
        self._inner: Followed | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """Both process ids, as far as known."""
        return (self._outer.pid,) if self._inner is None else (self._outer.pid, self._inner.pid)

    @property
    def ended(self) -> bool:
        """True once the outer process, and so all of it, has ended."""
        return self._outer.ended

    @property
    def peak_bytes(self) -> int:
        """As `Process.peak_bytes`, of whichever of them had more."""
        return self._outer.peak_bytes

    async def inner(self) -> Followed:
        """The process inside. Raises JailNotBuilt if there is none and never will be."""
        while self._inner is None:
            await self._told_or_ended()
            piece = b""
            with suppress(BlockingIOError):  # the outer one has ended, and the inner one holds the pipe open
                piece = os.read(self._info_fd, _READ_BYTES)
            self._info += piece
            # Written piece by piece.
            if self._info.rstrip().endswith(b"}"):
                try:
                    self._inner = Followed(json.loads(self._info)["child-pid"])
                except ProcessLookupError as error:
                    raise JailNotBuilt("the process inside ended at once") from error
            elif not piece:
                raise JailNotBuilt("bubblewrap ended before there was a process inside")
        return self._inner

    async def _told_or_ended(self) -> None:
        tasks = [asyncio.ensure_future(each) for each in (readable(self._info_fd), self._outer.until_ended())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # To their end: one stops watching the pipe, which the next time watches it again.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self) -> int:
        """The exit code, as bubblewrap tells it: above 128 it may have been a signal."""
        return await self._outer.wait()

    async def kill(self) -> None:
        """End both, and return when that is verified. Idempotent."""
        # Never the outer one first: an inner one that has not yet asked to die with its parent would live on.
        try:
            async with asyncio.timeout(_PATIENCE_S):
                inner = await self.inner()
            inner.kill()
            # The end of a pid namespace's first process is the end of all inside, see pid_namespaces(7).
            await inner.wait()
            # Its parent is left to reap it and end by itself; were it killed, the zombie would be for us to reap.
            async with asyncio.timeout(_PATIENCE_S):
                await self._outer.wait()
        except (JailNotBuilt, OSError):
            # It took too long, or there is no descriptor to hold the inner one by, or the outer one was killed when the
            # inner one was there already, which then waits for ever to be told to go on. Until it is told, it is in the
            # same process group.
            self._outer.signal_group(signal.SIGKILL)
            await self._outer.wait()

    async def close(self) -> None:
        """`kill`, and let go of the handles. Once."""
        await self.kill()
        if self._inner is not None:
            self._inner.close()
        await self._outer.close()
        os.close(self._info_fd)
