"""Large files that are mostly holes: copied, hashed and sealed without touching what is not there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

TEMPLATE = "caisson-template"
"""The name of the memfd with a template's memory, as /proc/PID/maps shows it."""
_PIECE_BYTES = 1 << 20
_PAGE_BYTES = 4096
_NOTHINGS = bytes(_PIECE_BYTES)
Pages = tuple[tuple[int, bytes], ...]
"""Runs of whole pages: where each begins, and what it holds."""
_CAP_SYS_PTRACE = 19
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
    memory = os.memfd_create(TEMPLATE, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
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


def own_copy(memory: int) -> int:
    """A memfd with the same content, which may change."""
    copy = os.memfd_create("caisson-ram", os.MFD_CLOEXEC)
    try:
        copy_sparse(memory, copy)
    except BaseException:
        os.close(copy)
        raise
    return copy


def difference(before: int, now: int) -> Pages:
    """What of `now`, which began as a copy of `before`, is not the same any more."""
    changed: list[tuple[int, bytes]] = []
    for offset, data in _pieces(now):
        was = os.pread(before, len(data), offset)
        if data != was:
            changed += [(offset + start, data[start:end]) for start, end in _runs(data, was)]
    return tuple(changed)


def may_write_memory() -> bool:
    """True if this process may change the memory of others: a server that is root may, if its container lets it."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_PTRACE & 1)


def write_into(pid: int, pages: Pages) -> None:
    """Change the copy of a template's memory that a process has mapped privately.

    Raises OSError if it is not to be reached, and ValueError if the process has none.
    """
    address = _mapped_at(pid)
    fd = os.open(f"/proc/{pid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    try:
        for offset, data in pages:
            if os.pwrite(fd, data, address + offset) != len(data):
                raise ValueError(f"process {pid} has less memory than its template")
    finally:
        os.close(fd)


def _mapped_at(pid: int) -> int:
    with Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) > 5 and fields[5] == f"/memfd:{TEMPLATE}":
                return int(fields[0].partition("-")[0], 16) - int(fields[2], 16)
    raise ValueError(f"process {pid} has no template mapped")


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


def _runs(data: bytes, was: bytes = _NOTHINGS) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of pages that are others than before, or not all zeros."""
    start = None
    for page in range(0, len(data), _PAGE_BYTES):
        end = min(page + _PAGE_BYTES, len(data))
        same = data[page:end] == was[page:end]
        if same and start is not None:
            yield start, page
            start = None
        elif not same and start is None:
            start = page
    if start is not None:
        yield start, len(data)
