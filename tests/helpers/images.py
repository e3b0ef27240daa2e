"""The guest images that tests run in, built by the product's own builder into `build/images`."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

import pytest

from caisson.cli.progress import shown
from caisson.images import definitions, tree
from caisson.images.build import pack
from caisson.images.catalog import Catalog, Image
from caisson.images.kernels import CLOUD_KERNEL, KERNEL
from caisson.images.making import build_all
from caisson.images.manifest import EROFS, ROOT, Manifest

IMAGES_DIR = Path(__file__).resolve().parents[2] / "build" / "images"
TEMPLATES_DIR = IMAGES_DIR.with_name("templates")
"""Saved machines, for all runs of the tests: each is made anew when what it is made of has changed."""
EPOCH_S = 1_735_689_600
NEEDED = ("mmdebstrap", "mkfs.erofs")


def provide_guest_images() -> None:
    """Build the images that are missing or out of date, where this machine can. Takes minutes the first time."""
    if all(shutil.which(program) for program in NEEDED):
        with shown() as report:
            catalog = Catalog(IMAGES_DIR)
            # Our own kernel takes minutes to build, so it is used only where somebody has built it.
            names = [*definitions.names(), *([] if catalog.find(KERNEL) else [CLOUD_KERNEL])]
            asyncio.run(build_all(catalog, names, missing=True, report=report))


def guest_images() -> Catalog:
    """The catalogue with all images in it; skips the test where they could not be built."""
    catalog = Catalog(IMAGES_DIR)
    lacking = [program for program in NEEDED if shutil.which(program) is None]
    # The lab, which can build none, is given some; each test skips what it has no image for.
    if lacking and not catalog.images():
        pytest.skip(f"no guest images without {' and '.join(lacking)}")
    return catalog


def small_image(
    catalog: Catalog, name: str = "small", content: bytes = b"echo hi\n", packed: bool = False, arch: str = "amd64"
) -> Image:
    """Install an image of two files that runs nowhere but has everything an image has; `packed`: its block form too."""
    with catalog.staging() as folder:
        root = folder / ROOT
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "run").write_bytes(content)
        (root / "bin" / "sh").symlink_to("run")
        tree.settle(root, EPOCH_S)
        if packed:
            asyncio.run(pack(root, folder / EROFS, name, EPOCH_S))
        else:
            (folder / EROFS).write_bytes(b"erofs of " + content)
        manifest = Manifest(
            name=name,
            version=f"1.0-{hashlib.sha256(content).hexdigest()[:8]}",
            arch=arch,
            summary="for tests",
            files={EROFS: tree.hash_file(folder / EROFS)},
            tree=tree.measure(root),
        )
        return catalog.install(folder, manifest)
