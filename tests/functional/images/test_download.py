"""A download is there whole and right, or not at all, whatever the server does."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from caisson.images.download import Pinned, download, fetch_small
from caisson.images.errors import DownloadFailed
from caisson.images.progress import Progress
from tests.helpers.fileserver import (
    Answer,
    FileServer,
    cut_off,
    endless,
    hang_up,
    instead,
    redirect,
    status,
    trickle,
    without_ranges,
)

pytestmark = pytest.mark.anyio

CONTENT = random.Random(1).randbytes(1_000_000)
OTHER = random.Random(2).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def pinned(url: str, **changes: object) -> Pinned:
    return Pinned(**{"url": url, "sha256": SHA256, "max_bytes": 2_000_000, **changes})  # type: ignore[arg-type]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to; an older version of the file is there."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def content(target: Path) -> bytes:
    return target.read_bytes()


def is_alone(target: Path) -> bool:
    return list(target.parent.iterdir()) == [target]


def left_behind(target: Path, part: bytes) -> None:
    target.with_name(f".file.{SHA256[:16]}.partial").write_bytes(part)


def only_old(target: Path) -> bool:
    return content(target) == b"old" and is_alone(target)


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [status(503)],
        [status(429, retry_after="0")],
        [status(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")],
        [hang_up],
        [cut_off(300_000)],
        [cut_off(300_000), cut_off(1), hang_up],
        [cut_off(300_000), without_ranges],
        [cut_off(300_000), status(416)],
        [cut_off(0)],
        [trickle(5, 0.05)],
        [redirect("/file?again")],
    ],
)
async def test_faults_that_pass_are_lived_through(files: FileServer, target: Path, faults: list[Answer]) -> None:
    url = files.serve("/file", CONTENT, *faults)
    files.serve("/file?again", CONTENT)
    steps: list[Progress] = []
    assert await download(pinned(url), target, name="kernel", report=steps.append) == target
    assert content(target) == CONTENT
    assert is_alone(target)
    assert (steps[-1].image, steps[-1].done, steps[-1].total) == ("kernel", len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ([status(404)], "is not there"),
        ([status(403)], "wants credentials"),
        ([status(500)] * 9, "answered 500"),
        ([status(429, retry_after="86400")], "answered 429"),
        ([hang_up] * 9, "cannot be reached"),
        ([instead(OTHER)] * 9, "other bytes"),
        ([instead(CONTENT[:-1])], "other bytes"),
        ([instead(CONTENT * 3)], "at most 2000000 are expected"),
        ([endless], "more than the 2000000 bytes"),
        ([redirect("/file")] * 9, "redirects more than 5 times"),
        ([redirect("ftp://127.0.0.1/file")], "neither an https nor an http address"),
        ([redirect("http://[::1")], "is no address"),
    ],
)
async def test_what_goes_wrong_for_good_changes_nothing_and_says_why(
    files: FileServer, target: Path, faults: list[Answer], why: str
) -> None:
    url = files.serve("/file", CONTENT, *faults)
    with pytest.raises(DownloadFailed, match=why):
        await download(pinned(url), target, name="kernel")
    assert only_old(target)


async def test_it_goes_on_in_a_later_call_where_an_earlier_one_was_cut_off(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT, cut_off(200_000), *[cut_off(100_000)] * 3)
    with pytest.raises(DownloadFailed, match="broke off"):
        await download(pinned(url), target, name="kernel")
    assert content(target) == b"old"
    files.requests.clear()
    await download(pinned(url), target, name="kernel")
    assert [headers["range"] for headers in files.asked("/file")] == ["bytes=500000-"]
    assert content(target) == CONTENT


async def test_what_was_left_damaged_is_fetched_anew(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT)
    left_behind(target, OTHER[:400_000])
    await download(pinned(url), target, name="kernel")
    assert content(target) == CONTENT
    assert is_alone(target)


async def test_what_is_there_whole_already_is_not_fetched_again(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT)
    left_behind(target, CONTENT)
    await download(pinned(url), target, name="kernel")
    assert content(target) == CONTENT
    assert files.requests == []


async def test_two_that_want_the_same_fetch_it_once(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT, trickle(4, 0.1))
    async with asyncio.TaskGroup() as tasks:
        for path in (target, target):
            tasks.create_task(download(pinned(url), path, name="kernel"))
    assert content(target) == CONTENT
    assert is_alone(target)


async def test_a_cancelled_download_keeps_what_came_and_leaves_the_target(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT, trickle(100, 0.1))
    came = asyncio.Event()
    running = asyncio.ensure_future(
        download(pinned(url), target, name="kernel", report=lambda step: came.set() if step.done else None)
    )
    await came.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert content(target) == b"old"
    await download(pinned(url), target, name="kernel")
    assert content(target) == CONTENT
    assert files.asked("/file")[-1]["range"] != "bytes=0-"


async def test_a_full_disk_is_told_and_leaves_no_part(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT)
    with (
        patch.object(shutil, "disk_usage", lambda path: SimpleNamespace(free=0)),
        pytest.raises(DownloadFailed, match="no room"),
    ):
        await download(pinned(url), target, name="kernel")
    assert only_old(target)


async def test_a_disk_that_fills_up_meanwhile_is_told_and_leaves_no_part(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT)

    def full(partial: object, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with patch("caisson.images.download._Partial.add", full), pytest.raises(DownloadFailed, match="no room"):
        await download(pinned(url), target, name="kernel")
    assert only_old(target)


async def test_credentials_are_not_carried_to_another_server(files: FileServer, target: Path) -> None:
    url = files.serve("/file", CONTENT, redirect(f"http://localhost:{files.port}/other"))
    files.serve("/other", CONTENT)
    await download(pinned(url, headers={"Authorization": "Bearer secret"}), target, name="kernel")
    assert files.asked("/file")[0]["authorization"] == "Bearer secret"
    assert "authorization" not in files.asked("/other")[0]


async def test_small_things_are_fetched_within_their_bound(files: FileServer) -> None:
    url = files.serve("/manifest", b"x" * 100, status(502))
    assert await fetch_small(url, max_bytes=100) == b"x" * 100
    with pytest.raises(DownloadFailed, match="larger than 99"):
        await fetch_small(url, max_bytes=99)
    with pytest.raises(DownloadFailed, match="is not there"):
        await fetch_small(files.url + "/nothing", max_bytes=99)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "not an address", "", "https://", "http://[::1"])
async def test_an_address_that_is_none_is_refused(url: str, target: Path) -> None:
    with pytest.raises(DownloadFailed, match="address"):
        await download(pinned(url), target, name="kernel")
    assert only_old(target)
