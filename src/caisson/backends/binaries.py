"""Programs that were compiled before, in a folder of bounded size; the ones used longest ago go first.

A program is known by its sources and its toolchain (`compiled.source_digest`) and serves nobody who sends others.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

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
