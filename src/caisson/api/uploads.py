"""Archives on their way from a request to the engine: files under `data_dir/uploads`, gone again unless handed over."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from ulid import ULID

from caisson.api.bodies import too_large
from caisson.errors import Refusal, Refused
from caisson.images.archive import ArchiveError, ArchiveLimits, ArchiveSummary, check_archive
from caisson.model import MAX_ARCHIVE_BYTES

UPLOADS = "uploads"
RETRY_AFTER_S = 30
_WRITE_BYTES = 1 << 20


class Upload:
    """One archive that is being received. All work on the file is done in threads."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._waiting = bytearray()
        self._size = 0
        self._digest = hashlib.sha256()
        self.handed_over = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take some bytes; they are written by the next `flush`. Raises Refused (413) over the limit."""
        self._size += len(data)
        if self._size > MAX_ARCHIVE_BYTES:
            raise too_large("the archive", MAX_ARCHIVE_BYTES, "archive")
        self._waiting += data

    async def flush(self, at_least_bytes: int = _WRITE_BYTES) -> None:
        """Write what waits, if it is worth it."""
        if self._waiting and len(self._waiting) >= at_least_bytes:
            data, self._waiting = self._waiting, bytearray()
            await asyncio.to_thread(self._write, data)

    async def finish(self, member: str, unpacked_bytes: int, *, durable: bool) -> ArchiveSummary:
        """Write the rest and check the whole. Raises Refused (400) naming `member` if it is not accepted."""
        await self.flush(0)
        await asyncio.to_thread(self._store, durable=durable)
        try:
            summary = await asyncio.to_thread(check_archive, self._path, ArchiveLimits(unpacked_bytes=unpacked_bytes))
        except ArchiveError as error:
            raise Refused(400, Refusal.BAD_ARCHIVE, error.message, member=member) from None
        return summary

    def hand_over(self) -> Path:
        """The file, which is no longer removed here."""
        self.handed_over = True
        return self._path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content, in hex."""
        return self._digest.hexdigest()

    def _write(self, data: bytearray) -> None:
        self._digest.update(data)
        self._file.write(data)

    def _store(self, *, durable: bool) -> None:
        self._file.flush()
        if not durable:
            return
        os.fsync(self._file.fileno())
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@asynccontextmanager
async def open_upload(data_dir: Path) -> AsyncIterator[Upload]:
    """A new, empty upload; on leaving, its file is removed unless it was handed over."""
    path = data_dir / UPLOADS / f"{ULID()}.tar.gz"
    try:
        with _created(path) as file:
            upload = Upload(path, file)
            try:
                yield upload
            finally:
                if not upload.handed_over:
                    path.unlink(missing_ok=True)
    except OSError as error:
        message = f"the archive could not be stored: {error.strerror}"
        raise Refused(503, Refusal.STORAGE, message, retry_after_s=RETRY_AFTER_S) from error


def _created(path: Path) -> BinaryIO:
    path.parent.mkdir(exist_ok=True)
    # Buffered: its lock makes `close` wait for a thread that still writes to a descriptor about to be used anew.
    return path.open("xb")


async def feed_base64(upload: Upload, text: str) -> None:
    """Fill an upload from the member `code_archive`. Raises Refused (400) if it is not base64."""
    try:
        upload.feed(await asyncio.to_thread(base64.b64decode, text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Refused(
            400, Refusal.BAD_ARCHIVE, f"`code_archive` is not base64: {error}", member="code_archive"
        ) from None
    await upload.flush(0)
