"""Old images go when they are long unused or too many; current ones and those in use never."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from caisson.images.catalog import Catalog, Image
from caisson.images.manifest import MANIFEST
from caisson.images.retention import Held, collect, removable
from tests.helpers.images import small_image

DAY_S = 86_400
held = st.builds(
    Held,
    digest=st.uuids().map(str),
    size=st.integers(0, 100),
    used_at_s=st.floats(0, 1000),
    current=st.booleans(),
)


@given(st.lists(held, unique_by=lambda each: each.digest), st.floats(0, 1000), st.integers(0, 500))
def test_what_stays_fits_or_is_current_and_nothing_goes_without_need(
    all_held: list[Held], keep_s: float, keep_bytes: int
) -> None:
    going = removable(all_held, keep_s=keep_s, keep_bytes=keep_bytes, now_s=1000)
    staying = [each for each in all_held if each.digest not in going]
    assert all(not each.current for each in all_held if each.digest in going)
    others = [each for each in staying if not each.current]
    assert all(each.used_at_s >= 1000 - keep_s for each in others)
    assert not others or sum(each.size for each in staying) <= keep_bytes
    if going:
        last = next(each for each in all_held if each.digest == going[-1])
        with_it = sum(each.size for each in staying) + last.size
        assert last.used_at_s < 1000 - keep_s or with_it > keep_bytes


def unused_since(image: Image, days: float) -> Image:
    at_s = image.installed_at_s - days * DAY_S
    for path in (image.folder / MANIFEST, image.folder):
        os.utime(path, (at_s, at_s))
    return image


def test_a_server_keeps_what_is_current_leased_or_lately_used(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    images = [small_image(catalog, content=str(number).encode()) for number in range(5)]
    old, leased, used, lately, current = images
    for image in (old, leased, used, current):
        unused_since(image, 40)
    with catalog.lease(used):
        pass
    with catalog.lease(leased):
        unused_since(leased, 40)
        assert collect(catalog, keep_days=30, keep_mb=100) == [old]
    assert {image.digest for image in catalog.images()} == {each.digest for each in (leased, used, lately, current)}
    assert {image.digest for image in collect(catalog, keep_days=30, keep_mb=0)} == {
        each.digest for each in (leased, used, lately)
    }
    assert catalog.images() == [current]


def test_a_download_nobody_went_on_with_is_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / ".downloads"
    folder.mkdir()
    (folder / "new").touch()
    (folder / "old").touch()
    os.utime(folder / "old", (1, 1))
    collect(Catalog(tmp_path), keep_days=1, keep_mb=1)
    assert [path.name for path in folder.iterdir()] == ["new"]
