"""Saved memory: copied with its holes, hashed however they lie, sealed so that nobody can change it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.backends.microvm.memory import copy_sparse, digest, sealed_copy

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
