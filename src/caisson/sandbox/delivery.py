"""The frames that bring a job's files into a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import closing

from caisson.errors import StartFailed
from caisson.host.shield import uninterrupted
from caisson.images.archive import ArchiveError, read_archive
from caisson.sandbox.contract import Job
from caisson.sandbox.launch import Launch
from caisson.sandbox.protocol import FrameType, Tag, encode_fields, encode_frame

BATCH_BYTES = 256 * 1024
"""About how much is handed to the kernel at once; also the largest FILE_DATA."""
_FOLDER = 0o040000
_ORDINARY = 0o644


async def file_frames(job: Job, launch: Launch, stream: int) -> AsyncIterator[bytes]:
    """Frames for everything that must lie in the work folder, in batches. Raises StartFailed for a damaged archive."""
    if job.archive is not None:
        with closing(_batches(_archive(job, stream))) as batches:
            while batch := await uninterrupted(asyncio.to_thread(_next, batches)):
                yield batch
    for batch in _batches(_files(job, launch, stream)):
        yield batch


def _next(batches: Iterator[bytes]) -> bytes:
    try:
        return next(batches, b"")
    except (ArchiveError, OSError) as error:
        raise StartFailed("the archive could not be unpacked", detail=f"{error}") from error


def _batches(frames: Iterable[bytes]) -> Generator[bytes, None, None]:
    pending = bytearray()
    for frame in frames:
        pending += frame
        if len(pending) >= BATCH_BYTES:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)


def _archive(job: Job, stream: int) -> Iterator[bytes]:
    if job.archive is None:
        return
    for entry in read_archive(job.archive):
        if entry.is_dir:
            fields = encode_fields([(Tag.PATH, entry.path), (Tag.MODE, _FOLDER | entry.mode)])
            yield encode_frame(FrameType.FILE, fields, stream=stream)
        else:
            yield _head(entry.path, entry.mode, entry.size, stream)
            yield from _content(entry.data, stream)


def _files(job: Job, launch: Launch, stream: int) -> Iterator[bytes]:
    for path, data in job.files.items():
        yield _head(path, _ORDINARY, len(data), stream)
        yield from _content([data], stream)
    for program in launch.programs:
        yield _head(program.path, program.mode, len(program.data), stream)
        yield from _content([program.data], stream)


def _head(path: str, mode: int, size: int, stream: int) -> bytes:
    fields = encode_fields([(Tag.PATH, path), (Tag.MODE, mode), (Tag.SIZE, size)])
    return encode_frame(FrameType.FILE, fields, stream=stream)


def _content(pieces: Iterable[bytes], stream: int) -> Iterator[bytes]:
    for piece in pieces:
        for offset in range(0, len(piece), BATCH_BYTES):
            yield encode_frame(FrameType.FILE_DATA, piece[offset : offset + BATCH_BYTES], stream=stream)
