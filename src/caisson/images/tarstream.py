"""Reads what stands between the files of a tar stream: ustar headers, pax records and GNU long names.

Only what an archive of source code needs is understood; everything else is an ArchiveError, not a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from caisson.errors import CaissonError

BLOCK = 512
MAX_RECORDS_BYTES = 1 << 20
"""Largest block of pax records; extended attributes can make them long."""
MAX_PATH_BYTES = 1024
MAX_EXTENSIONS = 8
"""Most headers that may describe one entry, its own included."""

_OCTAL = re.compile(rb"[0-7]+")
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_REGULAR = {b"0", b"\0"}
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"K": "a link with a long name",
    b"M": "a part of a multi-volume archive",
    b"S": "a sparse file",
    b"V": "a volume label",
}


class ArchiveError(CaissonError):
    """An archive that is not accepted. `entry` is the name it is about, as far as there is one."""

    def __init__(self, message: str, entry: str | None = None) -> None:
        super().__init__(f"{message}: {entry!r}" if entry is not None else message)
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Header:
    """One file or folder of an archive, as it says itself."""

    name: bytes
    executable: bool
    size: int
    is_dir: bool


@dataclass(frozen=True, slots=True)
class _Block:
    name: bytes
    mode: int
    size: int
    kind: bytes


def show(name: bytes) -> str:
    """A name for an error message: readable and not too long."""
    return name[:200].decode("utf-8", "backslashreplace")


def read_header(read: Callable[[int], bytes]) -> Header | None:
    """The next file or folder, or None at the end-of-archive mark. `read` gives exactly as many bytes as asked for."""
    long_name: bytes | None = None
    records: dict[bytes, bytes] | None = None
    for _ in range(MAX_EXTENSIONS):
        block = _parse_block(read(BLOCK))
        if block is None:
            if long_name is not None or records is not None or any(read(BLOCK)):
                raise ArchiveError("the end-of-archive mark is damaged")
            return None
        if block.kind == b"g":
            _refuse_global(_parse_records(_read_payload(read, block, MAX_RECORDS_BYTES)))
        elif block.kind == b"x" and records is None:
            records = _parse_records(_read_payload(read, block, MAX_RECORDS_BYTES))
        elif block.kind == b"L" and long_name is None:
            long_name = _read_payload(read, block, MAX_PATH_BYTES + BLOCK).split(b"\0", 1)[0]
        elif block.kind in b"xL":
            raise ArchiveError("an entry is described twice", show(block.name))
        else:
            return _finish(block, long_name, records or {})
    raise ArchiveError("too many extended headers in a row")


def _finish(block: _Block, long_name: bytes | None, records: dict[bytes, bytes]) -> Header:
    if long_name is not None and b"path" in records:
        raise ArchiveError("an entry has two names", show(long_name))
    name = records.get(b"path", block.name if long_name is None else long_name)
    if block.kind not in _REGULAR and block.kind != b"5":
        what = _REFUSED.get(block.kind, f"an entry of unknown kind {show(block.kind)!r}")
        raise ArchiveError(f"{what} is not accepted, only files and folders are", show(name))
    size = block.size
    if b"size" in records:
        if not _DECIMAL.fullmatch(records[b"size"]):
            raise ArchiveError("a size is not a number", show(name))
        size = int(records[b"size"])
    is_dir = block.kind == b"5"
    if is_dir and size:
        raise ArchiveError("a folder has content", show(name))
    if not is_dir and name.endswith(b"/"):
        raise ArchiveError("a file is named like a folder", show(name))
    return Header(name, bool(block.mode & 0o100), size, is_dir)


def _parse_block(block: bytes) -> _Block | None:
    """The fields of a 512-byte header (POSIX.1-2017, pax, "ustar Interchange Format"), or None if it is all zeros."""
    if not any(block):
        return None
    magic = block[257:263]
    if magic not in (b"ustar\0", b"ustar "):
        raise ArchiveError("not a tar archive in ustar, pax or GNU format")
    name = block[:100].split(b"\0", 1)[0]
    if _octal(block[148:156], name) != sum(block) - sum(block[148:156]) + 8 * 0x20:
        raise ArchiveError("a header has a wrong checksum", show(name))
    prefix = block[345:500].split(b"\0", 1)[0]
    # GNU tar keeps times and offsets where ustar has the prefix, and marks its format by a space in the magic.
    if prefix and magic == b"ustar\0":
        name = prefix + b"/" + name
    return _Block(name, _octal(block[100:108], name), _octal(block[124:136], name), block[156:157])


def _octal(field: bytes, name: bytes) -> int:
    # A set high bit begins GNU's base-256 form, for negative numbers and sizes from 8 GiB on: neither fits here.
    digits = field.strip(b" \0")
    if digits and not _OCTAL.fullmatch(digits):
        raise ArchiveError("a header field is not an octal number", show(name))
    return int(digits or b"0", 8)


def _read_payload(read: Callable[[int], bytes], block: _Block, most: int) -> bytes:
    if block.size > most:
        raise ArchiveError("an extended header is too long", show(block.name))
    return read(block.size + -block.size % BLOCK)[: block.size]


def _parse_records(data: bytes) -> dict[bytes, bytes]:
    """pax records, each `LENGTH KEY=VALUE\\n` where LENGTH counts all of it; a later one of the same key counts."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        digits = data[start : start + 20].split(b" ", 1)[0]
        length = int(digits) if _DECIMAL.fullmatch(digits) else 0
        record = data[start + len(digits) + 1 : start + length]
        key, equals, value = record[:-1].partition(b"=")
        if start + length > len(data) or not record.endswith(b"\n") or not equals or not key:
            raise ArchiveError("an extended header is damaged")
        if key.startswith(b"GNU.sparse."):
            raise ArchiveError("a sparse file is not accepted, only files and folders are")
        records[key] = value
        start += length
    return records


def _refuse_global(records: dict[bytes, bytes]) -> None:
    # `git archive` writes a global header with a comment; one that renames or resizes every entry is never honest.
    if b"path" in records or b"size" in records:
        raise ArchiveError("a global header sets a path or a size")
