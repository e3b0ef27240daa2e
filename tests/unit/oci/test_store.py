"""The store of images from registries: a sweep takes what nobody needs, and nothing under anybody's hands."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from caisson.images import tree
from caisson.images.oci.store import About, OciImage, OciStore

SIZE = 1000


def unused(store: OciStore) -> OciImage:
    """An image that was last used long ago."""
    with store.staging() as folder:
        fresh = folder / "image"
        (fresh / "root").mkdir(parents=True)
        image = store.add(fresh, About("sha256:" + "1" * 64, "h.example/a:1", "amd64", SIZE, ()))
    os.utime(image.folder, (1, 1))
    return image


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
def test_a_new_folder_that_a_sweep_takes_is_made_again(
    store: OciStore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    # What both `staging` and `sweep` do first with a folder, and next.
    owner, name = (os, "open") if when == "before it is opened" else (fcntl, "flock")
    real = getattr(owner, name)

    def after_a_sweep(*args: object) -> object:
        monkeypatch.undo()
        OciStore(store.folder).sweep(keep_bytes=SIZE, keep_s=1)
        assert list((store.folder / "staging").iterdir()) == []
        return real(*args)

    monkeypatch.setattr(owner, name, after_a_sweep)
    with store.staging() as folder:
        assert folder.is_dir()
        store.sweep(keep_bytes=SIZE, keep_s=1)
        assert folder.is_dir()


def test_a_folder_that_cannot_be_removed_is_left_to_a_sweep(store: OciStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is gone"), store.staging():
        patch.setattr(tree, "remove", fail)
    store.sweep(keep_bytes=SIZE, keep_s=1)
    assert list((store.folder / "staging").iterdir()) == []


def test_an_image_that_is_asked_for_while_a_sweep_is_about_to_take_it_stays(
    store: OciStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, remove = unused(store), store.remove

    def remove_after_a_use(image: OciImage, **rest: float) -> None:
        with OciStore(store.folder).lease(image):
            pass
        remove(image, **rest)

    monkeypatch.setattr(store, "remove", remove_after_a_use)
    assert store.sweep(keep_bytes=SIZE, keep_s=10) == []
    assert store.images() == [image]


def test_an_image_that_another_process_removes_meanwhile_is_left_out(
    store: OciStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, read = unused(store), OciStore._read

    def read_before_a_removal(self: OciStore, folder: Path, digest: str | None) -> OciImage | None:
        found = read(self, folder, digest)
        monkeypatch.undo()
        OciStore(store.folder).remove(image)
        return found

    monkeypatch.setattr(OciStore, "_read", read_before_a_removal)
    assert store.images() == []
