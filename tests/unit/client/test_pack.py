"""Folders become archives."""

from __future__ import annotations

import gzip
import io
import os
import random
import socket
import tarfile
from pathlib import Path

import pytest

from caisson.client import PackError, pack
from caisson.client.pack import open_archive, pack_folder
from caisson.images.archive import read_archive


def packed(folder: Path) -> bytes:
    target = io.BytesIO()
    pack_folder(folder, target)
    return target.getvalue()


def names_in(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_same_contents_give_the_same_bytes_wherever_and_whenever_they_were_made(tmp_path: Path) -> None:
    names = ["b.js", "a.js", "lib/z.js", "lib/deep/y.js"]
    for folder, order, mtime in (("one", names, 1_000), ("two", reversed(names), 2_000_000_000)):
        for name in order:
            write(tmp_path / folder / name, name)
            os.utime(tmp_path / folder / name, (mtime, mtime))
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    assert names_in(packed(tmp_path / "one")) == sorted(names)


def test_histories_caches_and_installed_packages_stay_at_home(tmp_path: Path) -> None:
    for name in (
        ".git/HEAD",
        "node_modules/x/i.js",
        "lib/__pycache__/m.pyc",
        "lib/node_modules/y.js",
        ".venv/bin/python",
    ):
        write(tmp_path / name)
    write(tmp_path / "lib/main.py")
    assert names_in(packed(tmp_path)) == ["lib/main.py"]


def test_the_server_reads_what_was_packed(tmp_path: Path) -> None:
    long_name = "/".join(["a" * 90] * 4) + "/é.txt"
    write(tmp_path / "src" / long_name, "deep")
    write(tmp_path / "src/run.sh", "#!/bin/sh")
    (tmp_path / "src/run.sh").chmod(0o700)
    write(tmp_path / "src/empty", "")
    with open_archive(tmp_path / "src") as archive:
        (tmp_path / "it.tar.gz").write_bytes(archive.read())
    found = {entry.path: (entry.mode, b"".join(entry.data)) for entry in read_archive(tmp_path / "it.tar.gz")}
    files = {name: value for name, value in found.items() if not (tmp_path / "src" / name).is_dir()}
    assert files == {long_name: (0o644, b"deep"), "run.sh": (0o755, b"#!/bin/sh"), "empty": (0o644, b"")}


def test_owners_and_times_are_not_told(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as tar:
        entry = tar.getmember("a")
    assert (entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) == (0, 0, "", "", 0)


def test_a_link_to_a_file_inside_is_packed_as_that_file(tmp_path: Path) -> None:
    write(tmp_path / "real.js", "content")
    (tmp_path / "alias.js").symlink_to("real.js")
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as tar:
        assert tar.getmember("alias.js").isreg()
        assert tar.extractfile("alias.js").read() == b"content"  # type: ignore[union-attr]  # a regular file


def test_a_link_out_of_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "secret")
    write(tmp_path / "src/main.js")
    (tmp_path / "src/leak.js").symlink_to("../secret")
    with pytest.raises(PackError, match=r"leak\.js is a link out of the folder"):
        packed(tmp_path / "src")


@pytest.mark.parametrize("target", [".", "nowhere"])
def test_a_link_to_a_folder_or_to_nothing_is_refused_by_name(tmp_path: Path, target: str) -> None:
    write(tmp_path / "main.js")
    (tmp_path / "odd").symlink_to(target)
    with pytest.raises(PackError, match="odd is a link to"):
        packed(tmp_path)


def test_a_socket_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # socket paths are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.sock")
        with pytest.raises(PackError, match=r"s\.sock is neither a file nor a folder"):
            packed(tmp_path)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.js"))).write_text("x")
    with pytest.raises(PackError, match="UTF-8"):
        packed(tmp_path)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(PackError, match="no files"):
        packed(tmp_path)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_FILES", 3)
    for number in range(4):
        write(tmp_path / str(number))
    with pytest.raises(PackError, match="more than 3 files"):
        packed(tmp_path)


def test_what_packs_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_ARCHIVE_BYTES", 100_000)
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(400_000))
    with pytest.raises(PackError, match="more than 100000 bytes"):
        packed(tmp_path)


def test_an_archive_file_goes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"anything"))
    with open_archive(tmp_path / "a.tar.gz") as archive:
        assert archive.read() == (tmp_path / "a.tar.gz").read_bytes()


def test_an_archive_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_ARCHIVE_BYTES", 10)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"anything"))
    with pytest.raises(PackError, match="at most 10"):
        open_archive(tmp_path / "a.tar.gz")


def test_a_single_file_is_packed_alone(tmp_path: Path) -> None:
    write(tmp_path / "app.wasm", "\0asm")
    write(tmp_path / "other")
    with open_archive(tmp_path / "app.wasm") as archive:
        assert names_in(archive.read()) == ["app.wasm"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="missing"):
        open_archive(tmp_path / "missing")
