"""Downloads of files whose digest is known beforehand: resumed where they broke off, and there only when whole.

This is the way for anything large that Caisson fetches: images, kernels, a virtual machine monitor.

    pinned = Pinned("https://example.org/release/vmlinux", sha256="…", max_bytes=64 << 20)
    await download(pinned, target, name="kernel", report=report)

`target` is replaced in one step, by the right bytes or not at all. What came so far waits beside it in a file
`.<name>.<digest>.partial`, for the next attempt of this or a later call; several callers may want the same at once.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Protocol

import httpx2

from caisson.images.errors import DownloadFailed
from caisson.images.http import Passing, http_client, opened, retrying
from caisson.images.progress import Progress, Report, silent

REPORT_INTERVAL_S = 0.2
WAIT_S = 0.2
_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class _Tell(Protocol):
    def __call__(self, step: str, done: int | None = None, total: int | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file at an address, and what its bytes must be."""

    url: str
    sha256: str
    """64 hexadecimal digits."""
    max_bytes: int
    """More than these are never read."""
    size: int | None = None
    """Its exact size, where that is known."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request to this host; may hold credentials."""


async def download(
    pinned: Pinned,
    target: Path,
    *,
    name: str,
    label: str | None = None,
    report: Report = silent,
    client: httpx2.AsyncClient | None = None,
) -> Path:
    """Fetch `pinned` to `target`, whose folder exists, and return `target`. Progress is reported for `name`, and
    calls the file `label` (the target's name if None).

    Raises DownloadFailed, which says why; `target` is then as it was. Cancelled, it keeps what came so far.
    """

    def tell(step: str, done: int | None = None, total: int | None = None) -> None:
        report(Progress(name, f"{step} {label or target.name}", done, total))

    async with _client(client) as http, _partial(pinned, target, tell) as partial:
        if not await asyncio.to_thread(_is_whole, partial.file, pinned):
            try:
                await _fill(http, pinned, partial, tell)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    partial.discard()
                    raise DownloadFailed(f"there is no room for {target.name} in {target.parent}") from error
                raise DownloadFailed(f"{target.parent} cannot be written to: {error.strerror}") from error
        await asyncio.to_thread(os.fsync, partial.file.fileno())
        partial.path.replace(target)
    return target


async def fetch_small(
    url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None, client: httpx2.AsyncClient | None = None
) -> bytes:
    """The bytes at an address, at most `max_bytes`, which the caller must check. Raises DownloadFailed."""
    async with _client(client) as http:
        async for attempt in retrying():
            with attempt:
                async with opened(http, "GET", url, headers=headers) as response:
                    content = bytearray()
                    async for piece in response.aiter_raw():
                        content += piece
                        if len(content) > max_bytes:
                            raise DownloadFailed(f"{url} is larger than {max_bytes} bytes")
                    return bytes(content)
    raise AssertionError("unreachable: the last attempt raises")


@dataclass(slots=True)
class _Partial:
    path: Path
    file: FileIO

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def add(self, piece: bytes) -> None:
        """Append to it; raises OSError where there is no room."""
        unwritten = memoryview(piece)
        while unwritten:
            unwritten = unwritten[self.file.write(unwritten) :]

    def discard(self) -> None:
        """Begin anew."""
        self.file.truncate(0)


@asynccontextmanager
async def _client(given: httpx2.AsyncClient | None) -> AsyncIterator[httpx2.AsyncClient]:
    if given is not None:
        yield given
    else:
        async with http_client() as client:
            yield client


@asynccontextmanager
async def _partial(pinned: Pinned, target: Path, tell: _Tell) -> AsyncIterator[_Partial]:
    """The file that what comes is kept in, for one downloader at a time."""
    path = target.with_name(f".{target.name}.{pinned.sha256[:16]}.partial")
    while True:
        try:
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise DownloadFailed(f"{target.parent} cannot be written to: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("waiting for another download of")
                await asyncio.sleep(WAIT_S)
                continue
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # whoever held the lock finished and moved it away
            partial = _Partial(path, file)
            try:
                yield partial
            finally:
                if partial.size == 0 and path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    path.unlink()
            return


async def _fill(http: httpx2.AsyncClient, pinned: Pinned, partial: _Partial, tell: _Tell) -> None:
    """Fetch what is missing until the partial file is whole."""
    resumed = partial.size > 0
    async for attempt in retrying():
        with attempt:
            await _fetch(http, pinned, partial, tell)
    if await asyncio.to_thread(_is_whole, partial.file, pinned):
        return
    partial.discard()
    if resumed:
        # The fault may have been in what an earlier attempt left.
        async for attempt in retrying():
            with attempt:
                await _fetch(http, pinned, partial, tell)
        if await asyncio.to_thread(_is_whole, partial.file, pinned):
            return
        partial.discard()
    raise DownloadFailed(f"{pinned.url} holds other bytes than expected: their SHA-256 is not {pinned.sha256}")


async def _fetch(http: httpx2.AsyncClient, pinned: Pinned, partial: _Partial, tell: _Tell) -> None:
    """One request for the rest of the file. Raises Passing if it ends too early, DownloadFailed if it is too long."""
    limit = pinned.max_bytes if pinned.size is None else min(pinned.size, pinned.max_bytes)
    if partial.size > limit or partial.size == pinned.size:
        partial.discard()
    offset = partial.size
    headers = {**pinned.headers, **({"Range": f"bytes={offset}-"} if offset else {})}
    async with opened(http, "GET", pinned.url, headers=headers, expected=frozenset({200, 206, 416})) as response:
        if response.status_code == 416 or (response.status_code == 206 and _start(response) != offset):
            partial.discard()
            raise Passing(f"{pinned.url} cannot be resumed at byte {offset}")
        if response.status_code == 200:
            partial.discard()
            offset = 0
        if response.headers.get("content-encoding", "identity") != "identity":
            raise DownloadFailed(f"{pinned.url} comes in an encoding that was not asked for")
        total = _total(response, offset)
        if total is None:
            total = pinned.size
        elif pinned.size is not None and total != pinned.size:
            raise DownloadFailed(f"{pinned.url} has {total} bytes instead of {pinned.size}")
        if total is not None and total > limit:
            raise DownloadFailed(f"{pinned.url} has {total} bytes, and at most {limit} are expected")
        if total is not None and shutil.disk_usage(partial.path.parent).free < total - offset:
            raise OSError(errno.ENOSPC, "no room")
        await _receive(response, partial, offset, limit, total, pinned.url, tell)


async def _receive(
    response: httpx2.Response,
    partial: _Partial,
    offset: int,
    limit: int,
    total: int | None,
    url: str,
    tell: _Tell,
) -> None:
    reported_s = 0.0
    tell("downloading", offset, total)
    # Without a chunk size, which would lose the last piece of an answer that is cut off.
    async for piece in response.aiter_raw():
        offset += len(piece)
        if offset > limit:
            partial.discard()
            raise DownloadFailed(f"{url} has more than the {limit} bytes expected")
        partial.add(piece)
        if time.monotonic() - reported_s >= REPORT_INTERVAL_S:
            reported_s = time.monotonic()
            tell("downloading", offset, total)
    if total is not None and offset < total:
        raise Passing(f"{url} broke off after {offset} of {total} bytes")
    tell("downloading", offset, total)


def _start(response: httpx2.Response) -> int | None:
    found = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(found[1]) if found else None


def _total(response: httpx2.Response, offset: int) -> int | None:
    length = response.headers.get("content-length", "")
    return offset + int(length) if length.isdecimal() else None


def _is_whole(file: FileIO, pinned: Pinned) -> bool:
    """True if the file holds exactly what is wanted. Reads all of it."""
    size = os.fstat(file.fileno()).st_size
    if size > pinned.max_bytes or (pinned.size is not None and size != pinned.size):
        return False
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest() == pinned.sha256
