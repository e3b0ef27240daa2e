"""Saved memory: copied with its holes, hashed however they lie, sealed so that nobody can change it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.backends.microvm.memory import (
    copy_sparse,
    difference,
    digest,
    may_write_memory,
    own_copy,
    sealed_copy,
    write_into,
)

PAGE = 4096
Opened = Callable[[bytes], int]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Files with some content, as descriptors."""
    with ExitStack() as stack:

        def make(content: bytes = b"") -> int:
            path = tmp_path / f"file{len(list(tmp_path.iterdir()))}"
            path.write_bytes(content)
            fd = os.open(path, os.O_RDWR)
            stack.callback(os.close, fd)
            return fd

        yield make


def content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@given(pages=st.lists(st.sampled_from([b"\0", b"a", b"b"]), max_size=12), rest=st.binary(max_size=10))
def test_a_copy_is_the_same_bytes_and_the_same_digest(pages: list[bytes], rest: bytes) -> None:
    data = b"".join(page * PAGE for page in pages) + rest
    source, target = os.memfd_create("source"), os.memfd_create("target")
    try:
        os.write(source, data)
        copy_sparse(source, target)
        assert content(target) == data
        assert digest(target) == digest(source)
    finally:
        os.close(source)
        os.close(target)


def test_pages_of_zeros_become_holes(opened: Opened) -> None:
    source, target = opened(b"x" * PAGE + bytes(300 * PAGE) + b"y" * PAGE), opened(b"")
    copy_sparse(source, target)
    assert os.fstat(target).st_size == 302 * PAGE
    assert os.fstat(target).st_blocks * 512 <= 16 * PAGE


def test_one_other_bit_one_other_place_or_one_other_size_is_another_digest(opened: Opened) -> None:
    data = bytearray(b"x" * PAGE + bytes(3 * PAGE))
    base = digest(opened(bytes(data)))
    for place in (0, PAGE - 1, 4 * PAGE - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        assert digest(opened(bytes(changed))) != base
    assert digest(opened(bytes(data[PAGE:] + data[:PAGE]))) != base
    assert digest(opened(bytes(data) + b"\0")) != base
    assert digest(opened(bytes(data[:-PAGE]))) != base


def test_a_sealed_copy_cannot_be_written_grown_shrunk_or_unsealed(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"x" * PAGE + bytes(PAGE))
    with path.open("rb") as file:
        expected = digest(file.fileno())
    memory = sealed_copy(path, expected)
    try:
        assert content(memory) == path.read_bytes()
        for harm in (
            lambda: os.pwrite(memory, b"y", 0),
            lambda: os.ftruncate(memory, PAGE),
            lambda: os.ftruncate(memory, 3 * PAGE),
        ):
            with pytest.raises(PermissionError):
                harm()
    finally:
        os.close(memory)


def test_a_file_with_another_digest_is_no_memory_and_leaves_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ValueError, match="is damaged"):
        sealed_copy(path, "0" * 64)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@given(
    before=st.lists(st.sampled_from([b"\0", b"a", b"b"]), min_size=1, max_size=12),
    changes=st.dictionaries(st.integers(0, 11), st.sampled_from([b"\0", b"a", b"c"])),
)
def test_a_difference_makes_what_is_now_of_what_was(before: list[bytes], changes: dict[int, bytes]) -> None:
    was = b"".join(page * PAGE for page in before)
    with ExitStack() as stack:
        base = os.memfd_create("base")
        stack.callback(os.close, base)
        os.write(base, was)
        now = own_copy(base)
        stack.callback(os.close, now)
        assert difference(base, now) == ()
        for page, filling in changes.items():
            if page < len(before):
                os.pwrite(now, filling * PAGE, page * PAGE)
        made = bytearray(was)
        for offset, data in difference(base, now):
            assert offset % PAGE == len(data) % PAGE == 0
            assert made[offset : offset + len(data)] != data, "pages that are the same are no difference"
            made[offset : offset + len(data)] = data
        assert made == content(now)
        assert content(base) == was


MAPS = """
import mmap, sys
memory = mmap.mmap(int(sys.argv[1]), 0, mmap.MAP_PRIVATE)
print("mapped", flush=True)
sys.stdin.readline()
print(memory[:].hex())
"""


@contextmanager
def mapping(fd: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has mapped this memory privately."""
    command = [sys.executable, "-c", MAPS, str(fd)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, pass_fds=[fd]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mapped\n"
        yield process


@pytest.mark.skipif(not may_write_memory(), reason="changing another process's memory takes root")
def test_pages_are_written_over_one_process_s_copy_and_nobody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(b"a" * 3 * PAGE)
    with path.open("rb") as file:
        memory = sealed_copy(path, digest(file.fileno()))
    try:
        with mapping(memory) as changed, mapping(memory) as other:
            write_into(changed.pid, ((PAGE, b"b" * PAGE),))
            told = [bytes.fromhex(process.communicate("\n")[0]) for process in (changed, other)]
        assert told == [b"a" * PAGE + b"b" * PAGE + b"a" * PAGE, b"a" * 3 * PAGE]
        assert content(memory) == told[1]
        with pytest.raises(ValueError, match="no template"):
            write_into(os.getpid(), ())
    finally:
        os.close(memory)
