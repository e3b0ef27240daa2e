"""Firecracker on its first use: found where it is, fetched where it is not, from a web server that misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from caisson.backends.microvm.firecracker.find import downloads, find_firecracker
from caisson.backends.microvm.firecracker.release import fetch, read_manifest
from caisson.errors import Unavailable
from caisson.settings import Settings
from tests.helpers.fileserver import FileServer, cut_off, redirect, running_file_server, status, trickle
from tests.helpers.server import CAISSON

pytestmark = pytest.mark.anyio
VERSION = "1.16.1"


@pytest.fixture
def files() -> Iterator[FileServer]:
    """A web server on the loopback address, asked again without pauses."""
    with stamina.set_testing(True, attempts=4, cap=True), running_file_server() as server:
        yield server


def program(name: str, version: str = VERSION) -> bytes:
    return f"#!/bin/sh\necho '{name} v{version}'\n".encode()


def archive(version: str = VERSION) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name in ("firecracker", "jailer"):
            content = program(name, version)
            member = tarfile.TarInfo(f"release/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        # Never unpacked, wherever it points to.
        tar.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    return data.getvalue()


def manifest(folder: Path, url: str, content: bytes) -> Path:
    path = folder / "release.json"
    members = {"firecracker": "release/firecracker", "jailer": "release/jailer"}
    pinned = {"url": url, "sha256": hashlib.sha256(content).hexdigest(), **members}
    path.write_text(json.dumps({"version": VERSION, "archives": {platform.machine(): pinned}}))
    return path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings with a data folder of their own, on a machine where Firecracker is not installed."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", f"{empty}:/usr/bin:/bin")
    for name in ("CAISSON_FIRECRACKER_BIN", "CAISSON_JAILER_BIN"):
        monkeypatch.delenv(name, raising=False)

    def make(**more: Any) -> Settings:
        return Settings(data_dir=tmp_path / "data", **more)

    return make


async def test_what_is_missing_is_fetched_once_through_faults_and_a_redirect(
    files: FileServer, settings: Any, tmp_path: Path
) -> None:
    content = archive()
    url = files.serve("/fc.tgz", content, status(503), *[redirect(files.url + "/cdn/real.tgz")] * 3)
    files.serve("/cdn/real.tgz", content, cut_off(len(content) // 2), trickle(3, 0.05))
    given = settings(firecracker_release=manifest(tmp_path, url, content))
    steps = []
    vmm = await find_firecracker(given, may_fetch=True, report=lambda progress: steps.append(progress))
    assert vmm.version == VERSION
    assert any(step.total == len(content) for step in steps)
    asked = len(files.requests)
    assert (await find_firecracker(given, may_fetch=False)).version == VERSION
    assert len(files.requests) == asked
    left = sorted(path.name for path in downloads(given).rglob("*") if ".locks" not in path.parts)
    assert left == sorted([f"firecracker-{VERSION}-{platform.machine()}", "firecracker", "jailer"])
    # The rest of what was cut off, and not all of it again.
    assert any("range" in headers for headers in files.asked("/cdn/real.tgz"))


async def test_of_several_that_need_it_one_fetches_it(files: FileServer, settings: Any, tmp_path: Path) -> None:
    content = archive()
    given = settings(firecracker_release=manifest(tmp_path, files.serve("/fc.tgz", content), content))
    found = await asyncio.gather(*(find_firecracker(given, may_fetch=True) for _ in range(4)))
    assert {vmm.version for vmm in found} == {VERSION}
    assert files.counts() == {"/fc.tgz": 1}


def test_the_command_fetches_it_beforehand(files: FileServer, tmp_path: Path) -> None:
    content = archive()
    release = manifest(tmp_path, files.serve("/fc.tgz", content), content)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CAISSON_FIRECRACKER_RELEASE": str(release)}
    command = [str(CAISSON), "images", "pull", "firecracker"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert VERSION in done.stdout
    assert files.counts() == {"/fc.tgz": 1}
    release.write_text(release.read_text().replace("1.16.1", "1.16.2").replace("/fc.tgz", "/none.tgz"))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "CAISSON_FIRECRACKER_BIN" in done.stderr


async def test_wrong_bytes_are_never_unpacked_and_the_way_by_hand_is_told(
    files: FileServer, settings: Any, tmp_path: Path
) -> None:
    url = files.serve("/fc.tgz", archive("6.6.6"))
    given = settings(firecracker_release=manifest(tmp_path, url, archive()))
    with pytest.raises(Unavailable, match="other bytes than expected") as caught:
        await find_firecracker(given, may_fetch=True)
    assert caught.value.fix is not None
    assert all(word in caught.value.fix for word in (url, "SHA-256", "CAISSON_FIRECRACKER_BIN", "CAISSON_JAILER_BIN"))
    assert [path for path in downloads(given).rglob("*") if path.name in {"firecracker", "jailer"}] == []


async def test_nothing_is_fetched_where_that_is_off(files: FileServer, settings: Any, tmp_path: Path) -> None:
    release = manifest(tmp_path, files.serve("/fc.tgz", archive()), archive())
    for given, may_fetch in [
        (settings(firecracker_release=release, auto_download=False), True),
        (settings(firecracker_release=release), False),
    ]:
        with pytest.raises(Unavailable, match="Firecracker is not installed") as caught:
            await find_firecracker(given, may_fetch=may_fetch)
        assert caught.value.fix is not None
        assert "unpack it" in caught.value.fix
    assert files.requests == []


async def test_offline_says_so_and_how_to_do_it_by_hand(settings: Any, tmp_path: Path) -> None:
    with stamina.set_testing(True, attempts=2, cap=True):
        given = settings(firecracker_release=manifest(tmp_path, "http://127.0.0.1:9/fc.tgz", archive()))
        with pytest.raises(Unavailable, match="could not be fetched") as caught:
            await find_firecracker(given, may_fetch=True)
    assert caught.value.fix is not None
    assert "elsewhere" in caught.value.fix


async def test_an_archive_without_the_programs_leaves_nothing(files: FileServer, settings: Any, tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz"):
        pass
    content = data.getvalue()
    release = read_manifest(manifest(tmp_path, files.serve("/fc.tgz", content), content))
    with pytest.raises(Unavailable, match="could not be unpacked"):
        await fetch(release, tmp_path / "programs")
    assert {path.name for path in (tmp_path / "programs").iterdir()} == {f"firecracker-{VERSION}.tgz", ".locks"}


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o755)
    return path


async def test_own_programs_must_be_of_one_version_and_not_too_old(settings: Any, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the jailer is for root")
    firecracker = put(tmp_path / "firecracker", program("Firecracker"))
    jailer = put(tmp_path / "other-jailer", program("Jailer", "1.17.0"))
    with pytest.raises(Unavailable, match=r"its jailer 1\.17\.0"):
        await find_firecracker(settings(firecracker_bin=firecracker, jailer_bin=jailer), may_fetch=False)
    with pytest.raises(Unavailable, match="jailer is not installed"):
        await find_firecracker(settings(firecracker_bin=firecracker), may_fetch=False)
    assert (await find_firecracker(settings(firecracker_bin=firecracker, jailer=False), may_fetch=False)).version
    old = put(tmp_path / "old", program("Firecracker", "1.7.0"))
    with pytest.raises(Unavailable, match=r"older than 1\.16"):
        await find_firecracker(settings(firecracker_bin=old, jailer=False), may_fetch=False)
    with pytest.raises(Unavailable, match="no program"):
        await find_firecracker(settings(firecracker_bin=tmp_path / "none"), may_fetch=False)


def test_the_manifest_that_is_shipped_pins_every_archive() -> None:
    release = read_manifest()
    assert {"x86_64", "aarch64"} <= release.archives.keys()
    for archive in release.archives.values():
        assert archive.url.startswith("https://")
        assert release.version in archive.url


def test_a_manifest_without_a_digest_is_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path, "https://example.org/fc.tgz", b"")
    path.write_text(path.read_text().replace(hashlib.sha256(b"").hexdigest(), "TODO"))
    with pytest.raises(Unavailable, match="lacks the SHA-256"):
        read_manifest(path)
