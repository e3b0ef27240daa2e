"""The catalogue: images come and go as a whole, are found by name and digest, and are not removed while in use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caisson.images import catalog as module
from caisson.images import tree
from caisson.images.catalog import Catalog
from caisson.images.errors import ImageDamaged, ImageInUse, ImageMissing
from caisson.images.manifest import EROFS, MANIFEST, decode_manifest
from tests.helpers.cancelling import PATIENCE_S
from tests.helpers.command import CAISSON
from tests.helpers.images import small_image


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "images")


def test_an_empty_catalogue_has_no_images_and_makes_no_folder(catalog: Catalog) -> None:
    assert catalog.images() == []
    assert catalog.find("python") is None
    assert not catalog.folder.exists()
    with pytest.raises(ImageMissing, match="caisson images build python"):
        catalog.get("python")


def test_an_image_is_found_by_name_version_and_digest(catalog: Catalog) -> None:
    image = small_image(catalog)
    for reference in ("small", f"small@{image.version}", f"small@{image.digest}", f"small@{image.digest[:15]}"):
        found = catalog.find(reference)
        assert found == image
    assert catalog.find("small@sha256:0000") is None
    assert (image.root / "bin" / "run").read_bytes() == b"echo hi\n"
    assert image.erofs.read_bytes() == image.path(EROFS).read_bytes()


@pytest.mark.parametrize("name", ["../etc", "", ".", "..", ".staging", "small/..", "a\0b", "A"])
def test_a_name_never_leads_out_of_the_catalogue(catalog: Catalog, name: str) -> None:
    small_image(catalog)
    assert catalog.find(name) is None


def test_the_last_installed_is_current_until_it_is_removed(catalog: Catalog) -> None:
    first, second = small_image(catalog, content=b"1"), small_image(catalog, content=b"2")
    os.utime(first.folder, (1, 1))
    assert catalog.find("small") == second
    assert catalog.images() == [second, first]
    catalog.remove(second)
    assert catalog.find("small") == first
    catalog.remove(first)
    catalog.remove(first)
    assert catalog.images() == []
    assert not (catalog.folder / "small").exists()


def test_installing_again_keeps_what_is_there(catalog: Catalog) -> None:
    image = small_image(catalog)
    inode = image.erofs.stat().st_ino
    assert small_image(catalog) == image
    assert image.erofs.stat().st_ino == inode
    assert list((catalog.folder / ".staging").iterdir()) == []


def test_a_leased_image_cannot_be_removed_here_nor_by_another_process(catalog: Catalog) -> None:
    image = small_image(catalog)
    command = [str(CAISSON), "images", "rm", "small", "--images-dir", str(catalog.folder)]
    with catalog.lease(image), catalog.lease(image):
        with pytest.raises(ImageInUse):
            catalog.remove(image)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "in use by sandboxes" in done.stderr
        assert catalog.find("small") == image
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert catalog.find("small") is None
    with pytest.raises(ImageMissing), catalog.lease(image):
        pass


def test_verify_names_what_is_damaged(catalog: Catalog) -> None:
    image = small_image(catalog)
    catalog.verify(image)
    image.erofs.write_bytes(b"erofs of other")
    with pytest.raises(ImageDamaged, match=r"root\.erofs"):
        catalog.verify(image)


@pytest.mark.parametrize("damage", ["content", "mode", "extra", "gone", "link"])
def test_verify_sees_any_change_in_the_root(catalog: Catalog, damage: str) -> None:
    image = small_image(catalog)
    program = image.root / "bin" / "run"
    match damage:
        case "content":
            program.write_bytes(b"echo no\n")
        case "mode":
            program.chmod(0o755)
        case "extra":
            (image.root / "more").touch()
        case "gone":
            program.unlink()
        case "link":
            (image.root / "bin" / "sh").unlink()
            (image.root / "bin" / "sh").symlink_to("/etc/passwd")
    with pytest.raises(ImageDamaged, match="folder root"):
        catalog.verify(image)


def test_an_image_with_a_file_missing_is_not_installed(catalog: Catalog) -> None:
    image = small_image(catalog)
    with catalog.staging() as folder, pytest.raises(ImageDamaged, match="lacks its file"):
        catalog.install(folder, msgspec.structs.replace(image.manifest, version="2"))
    assert catalog.images() == [image]


def test_a_folder_that_is_no_image_is_left_out_and_in_nobodys_way(catalog: Catalog) -> None:
    image = small_image(catalog)
    for name, text in {
        "empty": None,
        "broken": b"{",
        "foreign": image.manifest.encode().replace(b"small", b"large"),
    }.items():
        folder = catalog.folder / "small" / name
        folder.mkdir()
        if text is not None:
            (folder / MANIFEST).write_bytes(text)
    assert catalog.images() == [image]


def test_what_a_dead_process_left_is_swept_and_what_is_in_use_is_not(catalog: Catalog) -> None:
    left = catalog.folder / ".staging" / "1-1"
    (left / "root" / "locked").mkdir(parents=True)
    (left / "root" / "locked").chmod(0o500)
    with catalog.staging() as used:
        assert catalog.sweep() == 1
        assert used.exists()
        assert not left.exists()
    assert not used.exists()


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
def test_a_new_folder_that_a_sweep_takes_is_made_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    # What both `staging` and `sweep` do first with a folder, and next.
    owner, name = (os, "open") if when == "before it is opened" else (fcntl, "flock")
    real = getattr(owner, name)

    def after_a_sweep(*args: object) -> object:
        monkeypatch.undo()
        assert Catalog(catalog.folder).sweep() == 1
        return real(*args)

    monkeypatch.setattr(owner, name, after_a_sweep)
    with catalog.staging() as folder:
        assert folder.is_dir()
        assert catalog.sweep() == 0


def test_a_folder_that_cannot_be_removed_is_left_to_a_sweep(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is gone"), catalog.staging():
        patch.setattr(tree, "remove", fail)
    assert catalog.sweep() == 1


def test_an_image_is_installed_though_the_last_of_its_name_is_removed_meanwhile(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, sync = small_image(catalog, content=b"old"), module._sync

    def sync_and_remove(folder: Path) -> None:
        sync(folder)
        Catalog(catalog.folder).remove(old)
        assert not old.folder.parent.exists()

    monkeypatch.setattr(module, "_sync", sync_and_remove)
    new = small_image(catalog, content=b"new")
    assert catalog.find("small") == new
    catalog.verify(new)


@contextmanager
def meanwhile(monkeypatch: pytest.MonkeyPatch, look: str, work: Callable[[], object]) -> Iterator[None]:
    """Begin `work` in another thread right after the next `look` of a catalogue, which goes on when that is over.

    If it waits for its turn, it goes on as well; leaving waits for its end, and raises what it raised.
    """
    real, flock = getattr(Catalog, look), fcntl.flock
    here, begun, over_or_waiting = threading.get_ident(), list[Future[object]](), threading.Event()

    def looked(self: Catalog, about: object) -> object:
        found = real(self, about)
        if not begun:
            begun.append(other.submit(work))
            begun[0].add_done_callback(lambda _: over_or_waiting.set())
            assert over_or_waiting.wait(PATIENCE_S)
        return found

    def lock(file: Any, kind: int) -> None:
        if threading.get_ident() != here and not kind & fcntl.LOCK_NB:
            over_or_waiting.set()
        flock(file, kind)

    monkeypatch.setattr(Catalog, look, looked)
    monkeypatch.setattr(fcntl, "flock", lock)
    with ThreadPoolExecutor(1) as other:
        yield
        begun[0].result(PATIENCE_S)
    monkeypatch.undo()


@pytest.mark.parametrize("others", [0, 1])
def test_an_image_installed_while_the_current_one_is_removed_is_current(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    for _ in range(others):
        os.utime(small_image(catalog, content=b"older").folder, (1, 1))
    old = small_image(catalog, content=b"old")
    with meanwhile(monkeypatch, "_all", lambda: small_image(Catalog(catalog.folder), content=b"new")):
        catalog.remove(old)
    new = catalog.get("small")
    assert (new.root / "bin" / "run").read_bytes() == b"new"
    assert len(catalog.images()) == 1 + others


def test_an_image_installed_again_while_it_is_removed_is_there_and_current(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = small_image(catalog, content=b"old"), small_image(catalog, content=b"new")
    with meanwhile(monkeypatch, "is_current", lambda: small_image(Catalog(catalog.folder), content=b"old")):
        catalog.remove(old)
    assert catalog.find("small") == old
    catalog.verify(old)
    assert {image.digest for image in catalog.images()} == {old.digest, new.digest}


def test_an_image_made_current_while_it_is_removed_is_missing_and_the_current_one_stays(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = small_image(catalog, content=b"old"), small_image(catalog, content=b"new")
    making_current = meanwhile(monkeypatch, "is_current", lambda: Catalog(catalog.folder).make_current(old))
    with pytest.raises(ImageMissing), making_current:
        catalog.remove(old)
    assert catalog.images() == [new]
    assert catalog.find("small") == new


def test_of_images_removed_at_the_same_time_none_stays_the_current_one(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [small_image(catalog, content=str(number).encode()) for number in range(3)]
    for number, image in enumerate(images):
        os.utime(image.folder, (number, number))
    last, second, first = images
    with meanwhile(monkeypatch, "_all", lambda: Catalog(catalog.folder).remove(second)):
        catalog.remove(first)
    assert catalog.find("small") == last


@pytest.mark.parametrize(
    "change",
    [
        (b'"schema": 1', b'"schema": 2'),
        (b'"name": "small"', b'"name": "../small"'),
        (b'"root.erofs"', b'"../root.erofs"'),
        (b'"root.erofs"', b'"manifest.json"'),
        (b'"summary"', b'"summery"'),
        (b'"size": 17', b'"size": -1'),
    ],
)
def test_a_manifest_that_is_not_one_is_refused(catalog: Catalog, change: tuple[bytes, bytes]) -> None:
    text = small_image(catalog).manifest.encode()
    assert change[0] in text
    with pytest.raises(ImageDamaged):
        decode_manifest(text.replace(*change))
