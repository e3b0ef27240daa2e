"""Programs that were compiled before, in a folder of bounded size; the ones used longest ago go first.

A program is known by its sources and its toolchain (`compiled.source_digest`) and serves nobody who sends others.
"""

from __future__ import annotations

import asyncio
import os
import secrets
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
        # This call's alone: another thread that keeps the same program would truncate what it shares.
        draft = self._folder / f".{digest}-{secrets.token_hex(8)}.tmp"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            draft.write_bytes(data)
            with draft.open("rb") as file:
                # Before it has its name: a power failure must not leave a part of it there.
                os.fsync(file.fileno())
            draft.rename(self._folder / digest)
            self._forget()
        except OSError as error:
            logger.warning("a compiled program could not be kept", error=str(error))
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

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
        kept = []
        for path in self._folder.iterdir():
            # Drafts are their writers'; and what others forget meanwhile is gone.
            if not path.name.startswith("."):
                with suppress(FileNotFoundError):
                    kept.append((path.stat(), path))
        total = sum(stat.st_size for stat, _ in kept)
        for stat, path in sorted(kept, key=lambda each: each[0].st_mtime):
            if total <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size
