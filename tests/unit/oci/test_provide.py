"""Who is told that an image is here finds it here: no sweep takes it before its lease."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from caisson.images.oci import skopeo
from caisson.images.oci.errors import RegistryTrouble
from caisson.images.oci.pull import Puller, Rules
from caisson.images.oci.reference import Reference, parse_reference
from caisson.images.oci.skopeo import Access, Offer
from caisson.images.oci.store import About, OciImage, OciStore

pytestmark = pytest.mark.anyio

REFERENCE = parse_reference("h.example/a:1")
DIGEST = "sha256:" + "1" * 64
RULES = Rules()


@pytest.fixture
def store(tmp_path: Path) -> OciStore:
    """One image is here, long unused, and its tag has just been asked for."""
    store = OciStore(tmp_path / "oci")
    store.prepare()
    with store.staging() as folder:
        fresh = folder / "image"
        (fresh / "root").mkdir(parents=True)
        image = store.add(fresh, About(DIGEST, str(REFERENCE), "amd64", 1000, ()))
    store.name(REFERENCE, DIGEST, time.time())
    os.utime(image.folder, (1, 1))
    return store


def registry_says(monkeypatch: pytest.MonkeyPatch, answer: Offer | RegistryTrouble) -> None:
    async def look(reference: Reference, access: Access) -> Offer:
        if isinstance(answer, RegistryTrouble):
            raise answer
        return answer

    monkeypatch.setattr(skopeo, "look", look)


@pytest.mark.parametrize(
    ("refresh_s", "answer"),
    [
        (3600, RegistryTrouble("it is asked for nothing")),
        (0, RegistryTrouble("it is down")),
        (0, Offer(DIGEST, DIGEST, 1000)),
    ],
)
async def test_an_image_that_was_here_outlives_a_sweep_though_it_was_long_unused(
    store: OciStore, monkeypatch: pytest.MonkeyPatch, refresh_s: float, answer: Offer | RegistryTrouble
) -> None:
    registry_says(monkeypatch, answer)
    with ExitStack() as stack:
        image = await Puller(store, Rules(refresh_s=refresh_s)).provide(REFERENCE, stack)
    assert store.sweep(keep_bytes=RULES.keep_bytes, keep_s=RULES.keep_s) == []
    assert store.find(REFERENCE) == image


@pytest.mark.parametrize("refresh_s", [3600, 0])
async def test_an_image_that_is_removed_while_it_is_asked_for_is_fetched_again(
    store: OciStore, monkeypatch: pytest.MonkeyPatch, refresh_s: float
) -> None:
    find, puller, fetched = store.find, Puller(store, Rules(refresh_s=refresh_s)), []

    def find_before_a_removal(reference: Reference) -> OciImage | None:
        image = find(reference)
        assert image is not None
        store.remove(image)
        return image

    async def pull(reference: Reference, offer: Offer, stack: ExitStack) -> OciImage:
        fetched.append(offer.digest)
        with store.staging() as folder:
            return store.add(folder, About(offer.digest, str(reference), "amd64", 1000, ()))

    monkeypatch.setattr(store, "find", find_before_a_removal)
    monkeypatch.setattr(puller, "_pull", pull)
    registry_says(monkeypatch, Offer(DIGEST, DIGEST, 1000))
    with ExitStack() as stack:
        assert (await puller.provide(REFERENCE, stack)).folder.is_dir()
    assert fetched == [DIGEST]


async def test_an_image_that_is_removed_is_not_what_a_silent_registry_leaves_one_with(
    store: OciStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = store.find

    def find_before_a_removal(reference: Reference) -> OciImage | None:
        image = find(reference)
        assert image is not None
        store.remove(image)
        return image

    monkeypatch.setattr(store, "find", find_before_a_removal)
    registry_says(monkeypatch, RegistryTrouble("it is down"))
    with pytest.raises(RegistryTrouble, match="it is down"), ExitStack() as stack:
        await Puller(store, RULES).provide(REFERENCE, stack)
