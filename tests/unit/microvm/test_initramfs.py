"""The initramfs is an archive that others read alike, the same for the same content, with the agent and its modules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from caisson.backends.microvm.initramfs import Archive, make_initramfs

needs_cpio = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed: apt-get install cpio")


def listed(archive: bytes) -> list[list[str]]:
    """The table of contents: mode, links, owner, group, size or device, …, name."""
    command = ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"]
    done = subprocess.run(
        command, input=archive, capture_output=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
    )
    return [line.split() for line in done.stdout.decode().splitlines()]


def unpacked(archive: bytes, folder: Path) -> dict[str, bytes]:
    """Every regular file by name. The device, which only root could make, is left out."""
    command = ["cpio", "--extract", "--make-directories", "--quiet", "--nonmatching", "dev/console"]
    subprocess.run(command, input=archive, cwd=folder, check=True)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_cpio
def test_cpio_unpacks_what_was_put_in(tmp_path: Path) -> None:
    guest, out = tmp_path / "guest", tmp_path / "out"
    (guest / "deep" / "er").mkdir(parents=True)
    out.mkdir()
    contents = {
        "agent": b"\x7fELF" + bytes(range(256)),
        "go-build": b"#!/bin/sh\n",
        "python.py": b"x",
        "deep/er/a": b"",
    }
    for size in range(1, 6):  # every way to be padded
        contents[f"size{size}"] = b"s" * size
    for name, data in contents.items():
        (guest / name).write_bytes(data)
    modules = [tmp_path / "second.ko", tmp_path / "first.ko"]
    for module in modules:
        module.write_bytes(module.name.encode())
    archive = make_initramfs(guest, modules)
    found = unpacked(archive, out)
    wanted = {f"caisson/{name}": data for name, data in contents.items()}
    wanted |= {
        "modules/second.ko": b"second.ko",
        "modules/first.ko": b"first.ko",
        "modules/order": b"second.ko\nfirst.ko\n",
    }
    assert found == wanted
    modes = {line[-1]: line[0] for line in listed(archive)}
    assert modes["caisson/agent"] == modes["caisson/go-build"] == "-rwxr-xr-x"
    assert modes["caisson/python.py"] == "-rw-r--r--"
    assert modes["caisson/deep/er"] == "drwxr-xr-x"
    assert {(line[2], line[3]) for line in listed(archive)} == {("0", "0")}


@needs_cpio
def test_the_console_is_a_device_and_every_parent_comes_once_before_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "agent").write_bytes(b"\x7fELF")
    lines = listed(make_initramfs(tmp_path))
    (console,) = [line for line in lines if line[-1] == "dev/console"]
    assert console[0] == "crw-------"
    assert console[4:6] == ["5,", "1"]
    names = [line[-1] for line in lines]
    assert len(set(names)) == len(names)
    for place, name in enumerate(names):
        parent = name.rpartition("/")[0]
        assert not parent or parent in names[:place]
    assert "modules" not in names


def test_the_same_content_is_the_same_archive_whatever_its_times_and_the_order_it_came_in(tmp_path: Path) -> None:
    made = []
    for names in (["b", "a"], ["a", "b"]):
        folder = tmp_path / "".join(names)
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(name.encode())
        made.append(make_initramfs(folder))
    assert made[0] == made[1]


def test_every_header_and_every_file_begins_at_a_multiple_of_four() -> None:
    archive = Archive()
    for number in range(8):
        archive.file("n" * (number + 1), b"d" * number)
    data = archive.finish()
    assert len(data) % 4 == 0
    assert all(place % 4 == 0 for place in range(len(data)) if data.startswith(b"070701", place))
