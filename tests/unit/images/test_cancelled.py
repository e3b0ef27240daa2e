"""Whoever is cancelled while a thread works for it waits for the thread: nothing is removed under its hands."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from caisson.images import build as building
from caisson.images import catalog as cataloguing
from caisson.images import kernels, transfer, turn
from caisson.images.catalog import Catalog, Image
from caisson.images.definitions import Definition
from caisson.images.manifest import FileRecord, Manifest, digest_of
from caisson.images.offers import Offer
from caisson.images.progress import Progress, Report
from tests.helpers.cancelling import PATIENCE_S, cancel_while_held

pytestmark = pytest.mark.anyio

CONTENT = b"a kernel"
MANIFEST = Manifest(
    name="small",
    version="1",
    arch="amd64",
    summary="for tests",
    files={"vmlinux": FileRecord(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))},
)
REFERENCE = f"small@{digest_of(MANIFEST.encode())}"
STATUS = "Package: main\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"


class Place:
    """Has one image."""

    def __init__(self) -> None:
        self.fetched = 0

    async def offer(self, name: str, arch: str, version: str | None) -> Offer:
        return Offer(MANIFEST.encode(), None)

    async def fetch(self, manifest: Manifest, file: str, target: Path, report: Report) -> None:
        self.fetched += 1
        await asyncio.to_thread(target.write_bytes, CONTENT)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "images")


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds are done without mmdebstrap, tar and mkfs.erofs."""

    async def make_root(definition: Definition, archive: Path, **rest: object) -> None:
        await asyncio.to_thread(archive.touch)

    async def run_step(argv: list[str]) -> None:
        (into,) = [Path(word.partition("=")[2]) for word in argv if word.startswith("--directory=")]
        files = {"etc/passwd": "", "etc/group": "", "var/lib/dpkg/status": STATUS, "kernel/bzImage": "a kernel"}
        for name, text in files.items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_text(text)
        for name in ("run", "tmp", "var/tmp"):
            (into / name).mkdir()

    async def pack(root: Path, target: Path, label: str, epoch_s: int) -> None:
        await asyncio.to_thread(target.write_bytes, b"erofs")

    for module in (building, kernels):
        monkeypatch.setattr(module, "make_root", make_root)
        monkeypatch.setattr(module, "run_step", run_step)
    monkeypatch.setattr(building, "pack", pack)


def build(catalog: Catalog) -> Coroutine[Any, Any, Image]:
    return building.build(catalog, Definition("small", "for tests", "bookworm", ("main",), "main"))


def build_kernel(catalog: Catalog) -> Coroutine[Any, Any, Image]:
    return kernels.build_kernel(catalog, Definition("small", "for tests", "bookworm", ("main",), "main"))


def pull(catalog: Catalog) -> Coroutine[Any, Any, Image]:
    return transfer.pull(catalog, Place(), REFERENCE, arch="amd64")


@pytest.mark.parametrize(
    ("work", "module", "name"),
    [
        (build, building, "_finish"),
        (build, cataloguing, "_sync"),
        (build_kernel, kernels, "_finish"),
        (build_kernel, cataloguing, "_sync"),
        (pull, transfer, "_link_or_copy"),
        (pull, cataloguing, "_sync"),
    ],
)
@pytest.mark.usefixtures("no_programs")
async def test_a_cancelled_job_ends_with_its_thread_and_leaves_all_or_nothing(
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Catalog], Coroutine[Any, Any, Image]],
    module: ModuleType,
    name: str,
) -> None:
    begun, cancelled = threading.Event(), threading.Event()
    real = getattr(module, name)

    def held(*args: object) -> object:
        begun.set()
        assert cancelled.wait(PATIENCE_S)
        return real(*args)

    monkeypatch.setattr(module, name, held)
    task = asyncio.create_task(work(catalog))
    await cancel_while_held(task, begun, cancelled)
    assert list((catalog.folder / ".staging").iterdir()) == []
    if name == "_sync":
        # It was so far that it is there now, and whole.
        catalog.verify(catalog.get("small"))
    else:
        assert catalog.images() == []


async def test_of_several_that_pull_an_image_one_fetches_it(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, both, over = threading.Event(), threading.Event(), threading.Event()
    sync, link, links = cataloguing._sync, transfer._link_or_copy, 0

    def sync_when_both_are_at_it(folder: Path) -> None:
        begun.set()
        assert both.wait(PATIENCE_S)
        sync(folder)

    def link_when_the_first_is_over(source: Path, target: Path) -> None:
        nonlocal links
        links += 1
        if links == 2:
            both.set()
            assert over.wait(PATIENCE_S)
        link(source, target)

    def waits(progress: Progress) -> None:
        if progress.step == "waiting for another process that pulls it":
            both.set()

    monkeypatch.setattr(turn, "WAIT_S", 0.01)
    monkeypatch.setattr(cataloguing, "_sync", sync_when_both_are_at_it)
    monkeypatch.setattr(transfer, "_link_or_copy", link_when_the_first_is_over)
    place = Place()
    first = asyncio.create_task(transfer.pull(catalog, place, REFERENCE, arch="amd64"))
    first.add_done_callback(lambda _: over.set())
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    second = transfer.pull(Catalog(catalog.folder), place, REFERENCE, arch="amd64", report=waits)
    assert await second == await first
    assert place.fetched == 1
    assert [path for name in (".staging", ".downloads") for path in (catalog.folder / name).iterdir()] == []
