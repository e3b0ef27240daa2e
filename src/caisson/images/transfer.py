"""Moves images between this machine's catalogue and elsewhere: `pull` believes nothing before it is proved."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Collection
from pathlib import Path

import structlog

from caisson.host.process import CommandFailed, run
from caisson.host.shield import uninterrupted
from caisson.images import signing, tree
from caisson.images.catalog import Catalog, Image
from caisson.images.errors import DownloadFailed, ImageDamaged, ImageError
from caisson.images.manifest import EROFS, ROOT, Manifest, decode_manifest, digest_of, is_name
from caisson.images.offers import Source, Target
from caisson.images.progress import Progress, Report, silent
from caisson.images.turn import turn

logger = structlog.get_logger(__name__)

DOWNLOADS = ".downloads"
EXTRACT_TIMEOUT_S = 600
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def host_arch() -> str:
    """Debian's name for this machine's processor."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


async def pull(
    catalog: Catalog,
    source: Source,
    reference: str,
    *,
    keys: Collection[str] = (),
    arch: str | None = None,
    report: Report = silent,
) -> Image:
    """Bring an image into the catalogue and make it the current one of its name.

    `reference` is `NAME`, `NAME@VERSION`, or `NAME@sha256:` and 64 digits. One of `keys` must have signed it, unless
    it is named by its whole digest. Raises ImageError, which says why; the catalogue is then as it was, and what was
    fetched already is kept for the next attempt.
    """
    name, _, wanted = reference.partition("@")
    if not is_name(name):
        raise ImageError(f"{reference} is no name of an image")
    arch = arch or host_arch()
    report(Progress(name, "asking for the manifest"))
    pinned = wanted if wanted.startswith("sha256:") else None
    offer = await source.offer(name, arch, None if pinned else wanted or None)
    manifest = _believed(offer.manifest, offer.signature, reference, arch, keys)
    digest = digest_of(offer.manifest)
    waiting = Progress(name, "waiting for another process that pulls it")
    async with turn(catalog.folder, f"{name}.pull", lambda: report(waiting)):
        there = catalog.find(f"{name}@{digest}")
        if there is not None:
            report(Progress(name, "is there already"))
            return await asyncio.to_thread(catalog.make_current, there)
        image = await _fetch(catalog, source, manifest, report)
    logger.info("image pulled", image=image.name, version=image.version, digest=image.digest)
    return image


async def _fetch(catalog: Catalog, source: Source, manifest: Manifest, report: Report) -> Image:
    """Bring an image whose manifest is believed; one at a time for each name, as they share what was fetched."""
    name = manifest.name
    downloads = catalog.folder / DOWNLOADS
    kept = {file: downloads / f"{name}-{record.sha256}" for file, record in manifest.files.items()}
    with catalog.staging() as folder:
        downloads.mkdir(exist_ok=True)
        for file, record in manifest.files.items():
            # What came in an attempt that failed later is not fetched twice.
            if not kept[file].exists() or await asyncio.to_thread(tree.hash_file, kept[file]) != record:
                await source.fetch(manifest, file, kept[file], report)
            # A thread goes on when its task is cancelled, and the folder must not be removed under its hands.
            await uninterrupted(asyncio.to_thread(_link_or_copy, kept[file], folder / file))
        if manifest.tree is not None:
            report(Progress(name, "unpacking the root"))
            await extract(folder / EROFS, folder / ROOT)
            if await asyncio.to_thread(tree.measure, folder / ROOT) != manifest.tree:
                raise ImageDamaged(f"the root in {name} {manifest.version} is not what its manifest says")
        image = await uninterrupted(asyncio.to_thread(catalog.install, folder, manifest))
    for path in kept.values():
        path.unlink(missing_ok=True)
    return image


async def push(image: Image, target: Target, *, key: Path | None = None, report: Report = silent) -> str:
    """Store an image elsewhere, signed with the private key in the file `key` if there is one; where it is then.

    What is about to leave is read once: a damaged image is not passed on. Raises ImageError.
    """
    signature = None
    if key is not None:
        signature = signing.sign(image.manifest.encode(), await asyncio.to_thread(signing.read_key, key))
    report(Progress(image.name, "checking"))
    for file, record in image.manifest.files.items():
        if await asyncio.to_thread(tree.hash_file, image.folder / file) != record:
            raise ImageDamaged(f"image {image.name} {image.version}: {file} has other bytes than its manifest says")
    return await target.put(image, signature, report)


async def extract(erofs: Path, root: Path) -> None:
    """Unpack a block image whose bytes are known to be right into a folder that is not there yet."""
    if shutil.which("fsck.erofs") is None:
        raise ImageError("fsck.erofs is not installed; apt-get install erofs-utils")
    try:
        argv = ["fsck.erofs", f"--extract={root}", "--preserve-perms", "--no-preserve-owner", str(erofs)]
        await run(argv, timeout_s=EXTRACT_TIMEOUT_S)
    except CommandFailed as error:
        raise ImageError(f"the root cannot be unpacked: {error.message}", detail=error.detail) from error


def _believed(text: bytes, signature: bytes | None, reference: str, arch: str, keys: Collection[str]) -> Manifest:
    """The manifest, if it is what was asked for and comes from someone to be trusted."""
    name, _, wanted = reference.partition("@")
    digest = digest_of(text)
    if wanted.startswith("sha256:"):
        if digest != wanted:
            raise DownloadFailed(f"the image {name} that is there now has the digest {digest}, not {wanted}")
    else:
        try:
            signing.check(text, signature, keys)
        except ImageError as error:
            error.args = (f"the image {reference} is not taken: {error.message} (its digest is {digest})",)
            error.message = error.args[0]
            raise
    manifest = decode_manifest(text)
    version = None if wanted.startswith("sha256:") else wanted or None
    if (manifest.name, manifest.arch) != (name, arch) or version not in (None, manifest.version):
        found = f"{manifest.name}@{manifest.version} for {manifest.arch}"
        raise DownloadFailed(f"instead of the image {reference} for {arch}, there is {found}")
    if manifest.encode() != text:
        raise ImageDamaged(f"the manifest of {reference} is not written as this version of Caisson would write it")
    return manifest


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
