"""Compiled programs that are kept: whole or not at all, whoever keeps the same one meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.binaries import Binaries

DIGEST = "d" * 64
PROGRAM = b"program" * 1000
PATIENCE_S = 10.0


@pytest.fixture
def binaries(tmp_path: Path) -> Binaries:
    """Room for three programs."""
    return Binaries(tmp_path / "go", 3 * len(PROGRAM))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_kept_is_found(binaries: Binaries, tmp_path: Path) -> None:
    assert binaries.find(DIGEST) is None
    binaries.keep(DIGEST, PROGRAM)
    assert binaries.find(DIGEST) == PROGRAM
    binaries.keep("too large", b"x" + 3 * PROGRAM)
    assert names_in(tmp_path / "go") == {DIGEST}


def test_of_two_who_keep_the_same_program_one_that_fails_does_not_spoil_the_other_s(
    binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins to write when the first has written, and finds the disk full when the first has kept it."""
    written, begun, kept = threading.Event(), threading.Event(), threading.Event()
    write_bytes, rename = Path.write_bytes, Path.rename

    def write(path: Path, data: bytes) -> int:
        if threading.current_thread() is not second:
            return write_bytes(path, data)
        with path.open("wb"):
            begun.set()
            assert kept.wait(PATIENCE_S)
            raise OSError(errno.ENOSPC, "no room")

    def put(path: Path, target: Path) -> Path:
        written.set()
        assert begun.wait(PATIENCE_S)
        return rename(path, target)

    monkeypatch.setattr(Path, "write_bytes", write)
    monkeypatch.setattr(Path, "rename", put)
    first, second = (threading.Thread(target=binaries.keep, args=(DIGEST, PROGRAM)) for _ in range(2))
    first.start()
    assert written.wait(PATIENCE_S)
    second.start()
    first.join(PATIENCE_S)
    try:
        assert binaries.find(DIGEST) == PROGRAM
    finally:
        kept.set()
        second.join(PATIENCE_S)
    assert binaries.find(DIGEST) == PROGRAM
    assert names_in(tmp_path / "go") == {DIGEST}


def test_those_used_longest_ago_go_first_and_drafts_are_left_to_their_writers(
    binaries: Binaries, tmp_path: Path
) -> None:
    folder = tmp_path / "go"
    folder.mkdir()
    (folder / ".draft").write_bytes(4 * PROGRAM)
    for number, name in enumerate(("one", "two", "three")):
        binaries.keep(name, PROGRAM)
        for path in (folder / name, folder / ".draft"):
            os.utime(path, (number, number))
    assert binaries.find("one") == PROGRAM
    binaries.keep("four", PROGRAM)
    assert names_in(folder) == {".draft", "one", "three", "four"}


def test_programs_that_others_remove_meanwhile_hold_up_nobody(
    binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("one", "two")):
        binaries.keep(name, PROGRAM)
        os.utime(tmp_path / "go" / name, (number, number))
    unlink = Path.unlink

    def late(path: Path, **options: Any) -> None:
        if not path.name.startswith("."):
            unlink(path)
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", late)
    binaries.keep("three", 3 * PROGRAM)
    assert names_in(tmp_path / "go") == {"three"}
