"""Files arrive whole and below the work folder, or not at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caisson.sandbox.protocol import FrameType, Tag
from tests.functional.agent.conftest import USER
from tests.helpers.guest import Guest, Launched, is_root


def test_files_arrive_with_their_folders_content_and_mode(guest: Guest, work: Path) -> None:
    data = bytes(range(256)) * 1000
    guest.send_file("a.bin", data, stream=1)
    guest.send_file("deep/er/run.sh", b"#!/bin/sh\necho ran\n", stream=1, mode=0o755)
    guest.send_file("empty", stream=1, mode=0o400)
    assert guest.run("deep/er/run.sh", stream=1).stdout == b"ran\n"
    assert (work / "a.bin").read_bytes() == data
    assert (work / "empty").read_bytes() == b""
    assert [(work / name).stat().st_mode & 0o7777 for name in ("a.bin", "deep/er/run.sh", "empty")] == [
        0o644,
        0o755,
        0o400,
    ]


def test_files_belong_to_the_user_that_programs_run_as(guest: Guest, work: Path) -> None:
    guest.send_file("folder/file", b"old", stream=1)
    done = guest.run("/bin/sh", "-c", "echo new >folder/file; touch folder/another; rm folder/file", stream=1)
    assert (done.exit.code if done.exit else None, done.stderr) == (0, b"")
    assert (work / "folder").stat().st_uid == (USER if is_root() else os.geteuid())


def test_a_folder_may_be_empty(guest: Guest, work: Path) -> None:
    guest.send_fields(FrameType.FILE, [(Tag.PATH, "logs/today"), (Tag.MODE, 0o040700)], stream=1)
    guest.run("/bin/true", stream=1)
    assert (work / "logs/today").is_dir()
    assert (work / "logs/today").stat().st_mode & 0o7777 == 0o700


def test_a_later_file_takes_the_place_of_an_earlier_one(guest: Guest, work: Path) -> None:
    guest.send_file("a", b"a longer first version", stream=1)
    guest.send_file("a", b"second", stream=1)
    guest.run("/bin/true", stream=1)
    assert (work / "a").read_bytes() == b"second"


def test_privileged_mode_bits_are_not_given(guest: Guest, work: Path) -> None:
    guest.send_file("a", stream=1, mode=0o6755)
    guest.run("/bin/true", stream=1)
    assert (work / "a").stat().st_mode & 0o7777 == 0o755


@pytest.fixture
def outside(work: Path) -> Iterator[Path]:
    """A folder beside the work folder, in which nothing may change."""
    folder = work.parent / "outside"
    folder.mkdir()
    (folder / "treasure").write_text("gold")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["treasure"]
    assert (folder / "treasure").read_text() == "gold"


BAD_PATHS = [
    "",
    "/",
    "/etc/passwd",
    ".",
    "..",
    "../outside/treasure",
    "a/../../outside/treasure",
    "a/./b",
    "a//b",
    "a/",
    "a\0b",
    "x" * 256,
    "x/" * 2100 + "x",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path[:30]))
def test_a_path_that_is_not_plain_is_refused(guest: Guest, outside: Path, path: str) -> None:
    guest.send_file(path, b"mine", stream=1)
    assert guest.finish(1)[0].error.kind == "bad_path"


@pytest.mark.parametrize("path", ["link", "link/treasure", "link/new", "file-link", "dangling", "loop/x", "proc/exe"])
def test_symbolic_links_are_never_followed(guest: Guest, work: Path, outside: Path, path: str) -> None:
    (work / "link").symlink_to(outside)
    (work / "file-link").symlink_to(outside / "treasure")
    (work / "dangling").symlink_to(outside / "new")
    (work / "loop").symlink_to("loop")
    (work / "proc").symlink_to("/proc/self")
    guest.send_file(path, b"mine", stream=1)
    assert guest.finish(1)[0].error.kind == "bad_path"


def test_a_hard_link_to_a_file_outside_is_not_written_through(guest: Guest, work: Path, outside: Path) -> None:
    (work / "hard").hardlink_to(outside / "treasure")
    guest.send_file("hard", b"mine", stream=1)
    assert guest.finish(1)[0].error.kind == "bad_path"


@pytest.mark.parametrize("path", ["pipe", "folder", "file/below"])
def test_what_is_no_plain_file_is_not_written_to(guest: Guest, work: Path, path: str) -> None:
    os.mkfifo(work / "pipe")
    (work / "folder").mkdir()
    (work / "file").touch()
    guest.send_file(path, b"mine", stream=1)
    assert guest.finish(1)[0].error.kind == "bad_path"
    guest.ping()


def test_after_a_failed_file_its_process_is_not_started_and_others_are(guest: Guest, work: Path) -> None:
    guest.send_file("../a", b"x" * 100_000, stream=1)
    guest.send_file("b", b"y", stream=1)
    guest.start("/bin/touch", "started", stream=1)
    guest.send(FrameType.STDIN, b"swallowed", stream=1)
    assert guest.finish(1)[0].error.kind == "bad_path"
    assert guest.run("/bin/echo", "fine", stream=2).stdout == b"fine\n"
    assert not (work / "started").exists()
    assert not (work / "b").exists()


def test_a_full_disk_is_said_to_be_full(launch: Callable[..., Launched], work: Path) -> None:
    if not is_root():
        pytest.skip("mounting a small tmpfs needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "caisson-test", work], check=True)
    try:
        guest = launch().guest
        guest.shake_hands()
        guest.send_file("big", bytes(2 << 20), stream=1)
        error = guest.finish(1)[0].error
        assert (error.kind, "big" in error.message) == ("no_space", True)
        filled = guest.run("/bin/sh", "-c", "cat /dev/zero >more; rm big more; echo freed", stream=2)
        assert b"No space left" in filled.stderr
        assert filled.stdout == b"freed\n"
        guest.send_file("small", b"fits", stream=3)
        assert guest.run("/bin/cat", "small", stream=3).stdout == b"fits"
        guest.connection.close()
    finally:
        subprocess.run(["umount", "--lazy", work], check=True)
