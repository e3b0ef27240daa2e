"""Programs that were compiled before, in a folder of bounded size; the ones used longest ago go first.

A program is known by its sources and its toolchain (`compiled.source_digest`) and serves nobody who sends others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path

import structlog

from caisson.sandbox.compiled import source_digest
from caisson.sandbox.contract import Event, Job

logger = structlog.get_logger(__name__)


class Binaries:
    """The programs of one node. Blocking: they are read and written in milliseconds, but belong into a thread."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def find(self, digest: str) -> bytes | None:
        """The program, if it was kept."""
        path = self._folder / digest
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def keep(self, digest: str, data: bytes) -> None:
        """Keep a program. That it cannot be kept is no harm to anybody, and logged."""
        if len(data) > self._limit_bytes:
            return
        draft = self._folder / f".{digest}-{os.getpid()}.tmp"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            draft.write_bytes(data)
            draft.rename(self._folder / digest)
            self._forget()
        except OSError as error:
            logger.warning("a compiled program could not be kept", error=str(error))
            with suppress(OSError):
                draft.unlink()

    async def serve(
        self,
        job: Job,
        toolchain: str,
        run: Callable[[bytes | None, Callable[[bytes], None]], AsyncGenerator[Event, None]],
    ) -> AsyncGenerator[Event, None]:
        """The events of `run`, which gets the job's program if it was kept, and else hands over what it compiled."""
        made: list[bytes] = []
        digest = await asyncio.to_thread(source_digest, job, toolchain)
        binary = await asyncio.to_thread(self.find, digest)
        async with aclosing(run(binary, made.append)) as events:
            async for event in events:
                if made:
                    await asyncio.to_thread(self.keep, digest, made.pop())
                yield event

    def _forget(self) -> None:
        kept = sorted(
            ((entry.stat(), entry.path) for entry in os.scandir(self._folder)), key=lambda each: each[0].st_mtime
        )
        total = sum(stat.st_size for stat, _ in kept)
        for stat, path in kept:
            if total <= self._limit_bytes:
                return
            Path(path).unlink()
            total -= stat.st_size
