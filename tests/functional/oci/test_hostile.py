"""Layers and registries that mean harm, or are broken: told in words, and nothing half-made is left."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from caisson.images.oci.errors import NoSuchImage, OciError, RegistryTrouble
from caisson.images.oci.pull import Puller
from caisson.images.oci.reference import parse_reference
from caisson.images.oci.store import OciImage, OciStore
from tests.helpers.oci_images import (
    MANIFEST_TYPE,
    Answer,
    Entry,
    MadeImage,
    digest_of,
    make_image,
    make_layer,
    need_oci_tools,
    odd_registry,
    push,
)
from tests.helpers.registry import Registry

FOLDER, LINK, HARD, DEVICE, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE


@pytest.fixture(autouse=True)
def tools() -> None:
    need_oci_tools()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file beside the store that hostile layers aim at; they must not change it."""
    path = tmp_path / "outside"
    path.write_text("untouched")
    yield path
    assert path.read_text() == "untouched"
    assert not (tmp_path / "planted").exists()


def pull(puller: Puller, reference: str) -> OciImage:
    with ExitStack() as stack:
        return asyncio.run(puller.provide(parse_reference(reference), stack))


def assert_nothing_left(store: OciStore) -> None:
    assert list((store.folder / "staging").iterdir()) == []
    assert store.images() == []


@pytest.mark.parametrize(
    "layers",
    [
        [[Entry("../../../../planted", b"x"), Entry("a/../../../../../planted", b"x")]],
        [[Entry("/planted", b"x")]],
        [[Entry("away", kind=LINK, link="{outside}/.."), Entry("away/planted", b"x"), Entry("away/outside", b"x")]],
        [[Entry("away", kind=LINK, link="../../../../..")], [Entry("away/planted", b"x")]],
        [[Entry("away", kind=LINK, link="{outside}")], [Entry("away", b"x")]],
        [[Entry("hard", kind=HARD, link="{outside}"), Entry("hard", b"x")]],
        [[Entry("hard", kind=HARD, link="../../../../outside")], [Entry("hard", b"x")]],
        [[Entry("away", kind=LINK, link="{outside}/..")], [Entry("away/.wh.outside"), Entry("away/.wh..wh..opq")]],
        [[Entry(".", kind=LINK, link="/"), Entry("planted", b"x")]],
    ],
    ids=["dots", "absolute", "link", "link-below", "over-link", "hard", "hard-dots", "whiteout", "root-link"],
)
def test_no_layer_reaches_out_of_its_image(
    layers: list[list[Entry]],
    registry: Registry,
    store: OciStore,
    make_puller: Callable[..., Puller],
    tmp_path: Path,
    outside: Path,
) -> None:
    for entry in [entry for layer in layers for entry in layer]:
        entry.link = entry.link.format(outside=outside)
    image = make_image(*(make_layer(layer) for layer in layers))
    reference = push(registry, image, f"hostile:{image.digest[7:19]}", tmp_path / "layout")
    try:
        found = pull(make_puller(registry.host), reference)
    except OciError:
        assert_nothing_left(store)
        return
    for path in found.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.stat().st_ino != outside.stat().st_ino


def test_devices_and_set_user_id_bits_are_taken_out_and_mount_points_are_folders(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path, outside: Path
) -> None:
    layer = make_layer(
        [
            Entry("dev", kind=FOLDER, mode=0o755),
            Entry("dev/mem", kind=DEVICE, device=(1, 1), mode=0o666),
            Entry("pipe", kind=FIFO),
            Entry("sudo", b"x", mode=0o6755),
            Entry("work", kind=LINK, link=str(outside.parent)),
            Entry("caisson", b"a file"),
            Entry("etc", kind=FOLDER, mode=0o755),
            Entry("etc/resolv.conf", kind=LINK, link=str(outside)),
            Entry("etc/passwd", kind=LINK, link="/etc/passwd"),
        ]
    )
    reference = push(
        registry, make_image(layer, WorkingDir="/etc/passwd/x/../../made"), "devices:1", tmp_path / "layout"
    )
    found = pull(make_puller(registry.host), reference)
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in found.root.rglob("*")}
    assert kinds <= {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
    assert stat.S_IMODE((found.root / "sudo").stat().st_mode) == 0o755
    for name in ("work", "caisson", "dev", "etc"):
        assert stat.S_ISDIR((found.root / name).lstat().st_mode)
    assert stat.S_ISREG((found.root / "etc/resolv.conf").lstat().st_mode)
    assert found.settings().uid == 0


@pytest.mark.parametrize("files", [1, 100])
def test_an_image_that_grows_beyond_its_limit_is_given_up(
    files: int, registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    layer = make_layer([Entry(f"zeros{number}", bytes((96 << 20) // files)) for number in range(files)])
    reference = push(registry, make_image(layer), f"bomb:{files}", tmp_path / "layout")
    with pytest.raises(NoSuchImage, match="larger than 32 MiB"):
        pull(make_puller(registry.host, max_bytes=32 << 20), reference)
    assert_nothing_left(store)


def test_a_download_beyond_the_limit_is_not_begun(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    reference = push(
        registry, make_image(make_layer([Entry("data", os.urandom(3 << 20))])), "big:1", tmp_path / "layout"
    )
    with pytest.raises(NoSuchImage, match="CAISSON_OCI_MAX_MB"):
        pull(make_puller(registry.host, max_bytes=2 << 20), reference)
    assert list((store.blobs / "sha256").iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(
    registry: Registry, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    layer = make_layer([Entry("zeros", bytes(30 << 20))])
    reference = push(registry, make_image(layer), "disk:1", tmp_path / "layout")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    try:
        store = OciStore(small / "oci")
        store.prepare()
        puller = make_puller(registry.host)
        puller.store = store
        with pytest.raises(RegistryTrouble, match="no room"):
            pull(puller, reference)
        assert_nothing_left(store)
    finally:
        subprocess.run(["umount", small], check=True)


BUSY_FOR_A_SECOND = (429, {"Retry-After": "1"}, json.dumps({"errors": [{"code": "TOOMANYREQUESTS"}]}).encode())
IMAGE = make_image(make_layer([Entry("a", b"1")]))


def serving(image: MadeImage, **changed: Answer) -> Callable[[str], Answer]:
    """A registry that has one image, and answers some paths (by what they contain) in another way."""

    def answer(path: str) -> Answer:
        for part, instead in changed.items():
            if part in path:
                return instead
        if path == "/v2/":
            return 200, {}, b"{}"
        if "/manifests/" in path:
            return 200, {"Content-Type": MANIFEST_TYPE, "Docker-Content-Digest": image.digest}, image.manifest
        blob = image.blobs.get(path.rpartition("/")[2])
        return (404, {}, b"{}") if blob is None else (200, {}, blob)

    return answer


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"manifests": (404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')}, NoSuchImage, "there is no image"),
        ({"v2": (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")}, NoSuchImage, "right password"),
        ({"manifests": (403, {}, b'{"errors": [{"code": "DENIED"}]}')}, NoSuchImage, "does not give"),
        ({"manifests": (302, {"Location": "/v2/a/manifests/again"}, b"")}, RegistryTrouble, "without end"),
        ({"manifests": (500, {}, b"oh")}, RegistryTrouble, "could not be fetched"),
        ({"manifests": (200, {"Content-Type": MANIFEST_TYPE}, b"{nonsense")}, NoSuchImage, "cannot be read"),
        (
            {"manifests": (200, {"Content-Type": "text/html"}, b'{"mediaType": "text/html"}')},
            NoSuchImage,
            "no image that",
        ),
        ({"blobs": (200, {}, b"other bytes")}, RegistryTrouble, "other bytes"),
        ({"blobs": (404, {}, b"{}")}, NoSuchImage, "there is no image"),
    ],
    ids=["404", "401", "403", "redirects", "500", "nonsense", "html", "wrong blob", "lost blob"],
)
def test_what_a_registry_does_wrong_is_told(
    changed: dict[str, Answer], kind: type[OciError], words: str, store: OciStore, make_puller: Callable[..., Puller]
) -> None:
    with odd_registry(serving(IMAGE, **changed)) as (address, _), pytest.raises(kind, match=words):
        pull(make_puller(address), f"{address}/a:1")
    assert_nothing_left(store)


def test_bytes_that_a_digest_does_not_stand_for_are_refused(
    store: OciStore, make_puller: Callable[..., Puller]
) -> None:
    with odd_registry(serving(IMAGE)) as (address, _), pytest.raises(RegistryTrouble, match="other bytes"):
        pull(make_puller(address), f"{address}/a@{digest_of(b'another')}")
    assert_nothing_left(store)


def test_a_registry_that_wants_fewer_requests_is_asked_again_when_it_said(
    store: OciStore, make_puller: Callable[..., Puller]
) -> None:
    refused: list[str] = []

    def answer(path: str) -> Answer:
        if "/manifests/" in path and not refused:
            refused.append(path)
            return BUSY_FOR_A_SECOND
        return serving(IMAGE)(path)

    with odd_registry(answer) as (address, _):
        pull(make_puller(address), f"{address}/a:1")
    assert refused


@pytest.mark.parametrize("wish_s", [1, 3600])
def test_a_registry_that_goes_on_to_want_fewer_requests_is_named_and_its_wish_told(
    wish_s: int, store: OciStore, make_puller: Callable[..., Puller]
) -> None:
    busy = (429, {"Retry-After": str(wish_s)}, BUSY_FOR_A_SECOND[2])
    with odd_registry(serving(IMAGE, manifests=busy)) as (address, asked):
        with pytest.raises(RegistryTrouble, match=rf"fewer requests, later \({wish_s} s\)") as caught:
            pull(make_puller(address, timeout_s=2.5), f"{address}/a:1")
        assert caught.value.retry_after_s == wish_s
        assert len(asked) < 12, "it is not asked again and again"
    assert_nothing_left(store)


def test_a_registry_that_takes_too_long_is_given_up(store: OciStore, make_puller: Callable[..., Puller]) -> None:
    def answer(path: str) -> Answer:
        if "/blobs/" in path:
            time.sleep(3)
        return serving(IMAGE)(path)

    with odd_registry(answer) as (address, _), pytest.raises(RegistryTrouble, match="too slow"):
        pull(make_puller(address, timeout_s=1), f"{address}/a:1")
    assert_nothing_left(store)
