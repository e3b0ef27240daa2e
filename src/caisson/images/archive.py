"""Reads tar.gz archives from untrusted hands: regular files and folders only, in bounded memory, within limits.

The interpreter's own tar reader is not used: it knows links, devices, sparse files and more, each with a history of
escapes. What is not understood here is refused with an ArchiveError, and nothing else is ever raised for bad content.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from caisson.images.tarstream import BLOCK, MAX_PATH_BYTES, ArchiveError, read_header, show

__all__ = [
    "ArchiveError",
    "ArchiveLimits",
    "ArchiveSummary",
    "Entry",
    "check_archive",
    "extract_archive",
    "read_archive",
]

MAX_NAME_BYTES = 255
"""Longest name of one file or folder on Linux file systems."""
_PIECE = 64 * 1024
_HEADERS_BYTES_PER_ENTRY = 4096
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may unpack to."""

    entries: int = 10_000
    """Files and folders, those included that are only named as parents."""
    unpacked_bytes: int = 1 << 30
    depth: int = 64


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """What an accepted archive holds."""

    files: tuple[str, ...]
    folders: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder. `data` must be read before the next entry is asked for; what is left of it is skipped."""

    path: str
    """Relative, with `/` between names."""
    mode: int
    """0o755 for folders and executable files, 0o644 for other files."""
    size: int
    is_dir: bool
    data: Iterator[bytes]


DEFAULT_LIMITS = ArchiveLimits()


def check_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveSummary:
    """Read all of an archive without keeping anything of it; raises ArchiveError if it is not accepted."""
    files: list[str] = []
    folders = unpacked_bytes = 0
    for entry in read_archive(path, limits):
        if entry.is_dir:
            folders += 1
        else:
            files.append(entry.path)
        unpacked_bytes += entry.size
    return ArchiveSummary(tuple(files), folders, unpacked_bytes)


def read_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Iterator[Entry]:
    """Yield the entries in order. Errors late in the file, such as a wrong checksum, come after good entries."""
    with path.open("rb") as file:
        stream = _Inflated(file, limits.unpacked_bytes + _HEADERS_BYTES_PER_ENTRY * limits.entries)
        names = _Names(limits)
        left = limits.unpacked_bytes
        while (header := read_header(stream.read)) is not None:
            parts = _split(header.name, limits)
            left -= header.size
            if left < 0:
                raise ArchiveError(f"the archive unpacks to more than {limits.unpacked_bytes} bytes", show(header.name))
            if not parts and not header.is_dir:
                raise ArchiveError("a file has no name", show(header.name))
            names.add(parts, header.is_dir)
            if not parts:
                continue
            mode = 0o755 if header.is_dir or header.executable else 0o644
            data = _Content(stream, header.size)
            yield Entry("/".join(parts), mode, header.size, header.is_dir, data)
            for _ in data:
                pass
            stream.read(-header.size % BLOCK)
        stream.expect_only_zeros()


def extract_archive(path: Path, folder: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
    """Unpack into `folder`, which exists and is empty. Never follows a link, never replaces a file."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for entry in read_archive(path, limits):
            *parents, name = entry.path.split("/")
            if entry.is_dir:
                os.close(_open_folder(root, [*parents, name]))
                continue
            parent = _open_folder(root, parents)
            try:
                _write_file(parent, name, entry)
            finally:
                os.close(parent)
    finally:
        os.close(root)


def _open_folder(root: int, parts: list[str]) -> int:
    """A descriptor of the folder `parts` below `root`, made where it is missing."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    current = os.dup(root)
    for part in parts:
        try:
            try:
                following = os.open(part, flags, dir_fd=current)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=current)
                following = os.open(part, flags, dir_fd=current)
        finally:
            os.close(current)
        current = following
    return current


def _write_file(parent: int, name: str, entry: Entry) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, entry.mode, dir_fd=parent), "wb") as file:
        for piece in entry.data:
            file.write(piece)


def _split(name: bytes, limits: ArchiveLimits) -> list[str]:
    """The names along a path; none for the archive's own root (`./`)."""
    if name.startswith(b"/"):
        raise ArchiveError("a path is absolute", show(name))
    if len(name) > MAX_PATH_BYTES:
        raise ArchiveError(f"a path is longer than {MAX_PATH_BYTES} bytes", show(name))
    if b"\0" in name or b"\\" in name:
        raise ArchiveError("a path has a NUL or a backslash", show(name))
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError("a path is not UTF-8", show(name)) from error
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError("a path has a `..`", text)
    if len(parts) > limits.depth:
        raise ArchiveError(f"a path has more than {limits.depth} levels", show(name))
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise ArchiveError(f"a name is longer than {MAX_NAME_BYTES} bytes", show(name))
    return parts


@dataclass(slots=True)
class _Names:
    """The tree so far: no name twice, no file that is also a folder, and not too many of both."""

    limits: ArchiveLimits
    named: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def add(self, parts: list[str], is_dir: bool) -> None:
        path = "/".join(parts)
        if path in self.named:
            raise ArchiveError("a name stands twice in the archive", path)
        self.named.add(path)
        if not parts:
            return
        for end in range(1, len(parts)):
            parent = "/".join(parts[:end])
            if parent in self.files:
                raise ArchiveError("a file is also used as a folder", parent)
            self.folders.add(parent)
        if not is_dir and path in self.folders:
            raise ArchiveError("a folder is also used as a file", path)
        (self.folders if is_dir else self.files).add(path)
        if len(self.files) + len(self.folders) > self.limits.entries:
            raise ArchiveError(f"the archive has more than {self.limits.entries} files and folders")


class _Inflated:
    """The bytes inside a gzip file of one member, handed out in exact amounts up to a cap."""

    def __init__(self, file: BinaryIO, cap_bytes: int) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_GZIP)
        self._left = cap_bytes
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; raises ArchiveError where the archive ends before."""
        while len(self._buffer) < size:
            piece = self._next_piece()
            if not piece:
                raise ArchiveError("the archive is cut off")
            self._buffer += piece
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def expect_only_zeros(self) -> None:
        """Read the padding that follows the end-of-archive mark, up to the end of the file."""
        while not self._buffer.strip(b"\0"):
            self._buffer.clear()
            piece = self._next_piece()
            if not piece:
                return
            self._buffer += piece
        raise ArchiveError("something follows the end of the archive")

    def _next_piece(self) -> bytes:
        """Some more bytes; none at the end, whose length and checksum were then found right."""
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._file.read(_PIECE)
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise ArchiveError("not a gzip file, or a damaged one") from error
            self._left -= len(piece)
            if self._left < 0:
                raise ArchiveError("the archive inflates to more than its entries may take")
            if piece:
                return piece
            if not data:
                raise ArchiveError("the archive is cut off")
        if self._inflate.unused_data or self._file.read(1):
            raise ArchiveError("something follows the end of the gzip data")
        return b""


class _Content:
    """The content of one file, in pieces."""

    def __init__(self, stream: _Inflated, size: int) -> None:
        self._stream = stream
        self._left = size

    def __iter__(self) -> _Content:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        piece = self._stream.read(min(self._left, _PIECE))
        self._left -= len(piece)
        return piece
