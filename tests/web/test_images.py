"""Guest images and images from registries, pulled and run from the browser."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caisson.images import definitions
from caisson.images.catalog import Catalog
from caisson.images.signing import make_key
from caisson.images.sources import open_target
from caisson.images.transfer import host_arch
from caisson.images.transfer import push as push_guest
from tests.helpers.browser import Open
from tests.helpers.busybox import busybox_image
from tests.helpers.images import small_image
from tests.helpers.oci_images import need_oci_tools, push
from tests.helpers.registry import running_registry
from tests.helpers.server import Server

TRUSTED, STRANGE = definitions.names()[:2]


def release(folder: Path) -> str:
    """Put two images into `released` in this folder, signed by two keys; return the first one's public half."""
    public = make_key(folder / f"{TRUSTED}.pem")
    make_key(folder / f"{STRANGE}.pem")

    async def send() -> None:
        async with open_target(str(folder / "released")) as target:
            for image in images:
                await push_guest(image, target, key=folder / f"{image.name}.pem")

    catalog = Catalog(folder / "origin")
    images = [small_image(catalog, name, packed=True, arch=host_arch()) for name in (TRUSTED, STRANGE)]
    asyncio.run(send())
    return public


def all_but(missing: str, folder: Path) -> Path:
    """A folder with every program of this machine but one."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            if program.name != missing and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return folder


@pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="mkfs.erofs is not installed")
def test_an_image_is_pulled_while_one_watches_and_what_cannot_be_says_why(
    open_window: Open, start_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a stranger signed is not pulled, and without mmdebstrap nothing is built."""
    # In a thread of its own, for the browser's event loop counts as running in this one.
    with ThreadPoolExecutor(1) as thread:
        key = thread.submit(release, tmp_path).result()
    monkeypatch.setenv("PATH", str(all_but("mmdebstrap", tmp_path / "programs")))
    server = start_server(backends="isolate", images_source=str(tmp_path / "released"), images_keys=key)
    web = open_window(server.url)
    web.open("/backends")
    for name, outcome in ((STRANGE, "failed"), (TRUSTED, "completed")):
        web.until("image", name=name, built="false").get_by_test_id("image-pull").click()
        said = web.until("image-job", status=outcome).inner_text()
        assert f"pull {name}" in said
        assert ("signed" in said) == (outcome == "failed")
        web.until("image", name=name, built=str(outcome == "completed").lower())
    web.until("image", name=TRUSTED).get_by_test_id("image-build").click()
    web("image-job").get_by_text("mmdebstrap is not installed").wait_for()
    web("image-job").get_by_text("apt-get install mmdebstrap").wait_for()


@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_a_build_is_watched_cancelled_and_ends_with_its_server(
    open_window: Open, start_server: Callable[..., Server]
) -> None:
    server = start_server(backends="isolate")
    web = open_window(server.url)
    web.open("/backends")
    build = web.until("image", name="base", built="false").get_by_test_id("image-build")
    build.click()
    # Without a network the build fails at once.
    web("image-job").get_by_text(re.compile("fetching package lists|failed")).first.wait_for()
    if web("image-job").get_attribute("data-status") == "running":
        assert build.is_disabled()
        web("image-cancel").click()
        web.until("image-job", status="cancelled")
        build.click()
        web.until("image-job", status="running")
    assert server.stop() == 0
    web.until("image-job", status="failed")
    assert not (server.data_dir / "images" / "base").exists()


@pytest.fixture
def own_images(images: Catalog, tmp_path: Path) -> Path:
    """The shared image `base` in a folder of one's own, where images from registries can be put beside it."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "base").symlink_to(images.folder / "base")
    return folder


@pytest.mark.timeout(120)
def test_an_image_from_a_registry_is_run(
    open_window: Open, start_server: Callable[..., Server], own_images: Path, tmp_path: Path
) -> None:
    need_oci_tools()
    with running_registry(tmp_path / "registry") as registry:
        image = push(registry, busybox_image(), "say:1", tmp_path / "layout")
        server = start_server(
            backends="gvisor",
            images_dir=own_images,
            oci_insecure_registries=registry.host,
            warm_bash=0,
        )
        with server.client() as http:
            (backend,) = http.get("/v1/backends").json()
        if "oci" not in backend["runtimes"]:
            pytest.skip(f"no oci here: {backend['reason'] or backend['missing']}")
        web = open_window(server.url)
        web.open("/new")
        web("example").select_option("oci")
        web("field-image").fill(image)
        web("field-command").fill("-c\necho from an image; echo '[1]' >\"$CAISSON_OUTPUT\"")
        web.run_once_more()
        web.until("result", status="completed")
        web.page.get_by_text("from an image", exact=True).wait_for()
        assert "1" in web("output").inner_text()
