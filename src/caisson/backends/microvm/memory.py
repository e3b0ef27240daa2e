"""Large files that are mostly holes: copied, hashed and sealed without touching what is not there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_PIECE_BYTES = 1 << 20
_PAGE_BYTES = 4096
_NOTHING = bytes(_PAGE_BYTES)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def copy_sparse(source: int, target: int) -> None:
    """Make `target`, an empty file, the same as `source`, with holes also where `source` has pages of zeros."""
    os.ftruncate(target, os.fstat(source).st_size)
    for offset, data in _pieces(source):
        for start, end in _runs(data):
            os.pwrite(target, memoryview(data)[start:end], offset + start)


def digest(fd: int) -> str:
    """SHA-256 of a file's size and of its pages that are not all zeros: the same however its holes lie."""
    sha = hashlib.sha256(b"%d" % os.fstat(fd).st_size)
    for offset, data in _pieces(fd):
        # Page by page, because where the pieces and runs begin depends on the holes.
        for start, end in _runs(data):
            for page in range(start, end, _PAGE_BYTES):
                sha.update(b"@%d:" % (offset + page))
                sha.update(memoryview(data)[page : min(end, page + _PAGE_BYTES)])
    return sha.hexdigest()


def sealed_copy(path: Path, expected: str) -> int:
    """A memfd with the file's content that nobody can ever change. Raises ValueError unless its digest is `expected`.

    QEMU before version 8.2 opens memory for writing even when it maps it privately; the seal is what makes it safe that
    a hostile one does.
    """
    memory = os.memfd_create("caisson-template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with path.open("rb") as file:
            copy_sparse(file.fileno(), memory)
        if digest(memory) != expected:
            raise ValueError(f"{path} is damaged")
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(memory)
        raise
    return memory


def _pieces(fd: int) -> Iterator[tuple[int, bytes]]:
    """Where the file has data, and what, in pieces that begin at pages."""
    size = os.fstat(fd).st_size
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset -= offset % _PAGE_BYTES
        end = os.lseek(fd, offset, os.SEEK_HOLE)
        while offset < end:
            data = os.pread(fd, min(_PIECE_BYTES, end - offset), offset)
            if not data:
                return
            yield offset, data
            offset += len(data)


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of pages that are not all zeros."""
    start = None
    for page in range(0, len(data), _PAGE_BYTES):
        empty = data[page : page + _PAGE_BYTES] == _NOTHING[: len(data) - page]
        if empty and start is not None:
            yield start, page
            start = None
        elif not empty and start is None:
            start = page
    if start is not None:
        yield start, len(data)
