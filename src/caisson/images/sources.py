"""Where images come from and go to: a plain web folder, a folder on this machine, or an OCI registry.

All three hold the same: a manifest, a signature under it, and the files it lists. `open_source` and `open_target` tell
which is meant by an address:

    https://example.org/images         a web folder or a release page, only to pull from
    oci://registry.example.org/team    a registry, each image a repository below that
    /srv/images, ./release             a folder, to pull from, or to be put on the web
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from caisson.images import tree
from caisson.images.catalog import Image
from caisson.images.download import Pinned, download, fetch_small
from caisson.images.errors import DownloadFailed, ImageError
from caisson.images.http import NotThere, checked_url, http_client
from caisson.images.manifest import MAX_MANIFEST_BYTES, FileRecord, Manifest
from caisson.images.offers import Offer, Source, Target
from caisson.images.progress import Progress, Report
from caisson.images.registry import RegistryPlace
from caisson.images.signing import MAX_SIGNATURE_BYTES


def names_of(name: str, version: str | None, arch: str) -> str:
    """The stem of an image's files in a plain folder."""
    return f"{name}-{version}-{arch}" if version else f"{name}-{arch}"


def file_in_folder(manifest: Manifest, file: str) -> str:
    """How a plain folder names a file of an image: by content, so that versions do not get in each other's way."""
    return f"{manifest.name}-{manifest.arch}-{manifest.files[file].sha256[:16]}-{file}"


@asynccontextmanager
async def open_source(address: str) -> AsyncIterator[Source]:
    """The source at an address; raises ImageError if it is none."""
    async with http_client() as client:
        if address.startswith("oci://"):
            yield RegistryPlace(client, address)
        elif address.startswith(("https://", "http://")):
            yield WebFolder(client, address)
        elif "://" in address:
            raise ImageError(f"{address} is neither an https nor an oci address")
        else:
            yield Folder(Path(address))


@asynccontextmanager
async def open_target(address: str) -> AsyncIterator[Target]:
    """The target at an address; raises ImageError if it is none."""
    async with http_client() as client:
        if address.startswith("oci://"):
            yield RegistryPlace(client, address)
        elif "://" in address:
            raise ImageError(f"{address} can only be pulled from: push to a folder, and put that there")
        else:
            yield Folder(Path(address))


@dataclass(frozen=True, slots=True)
class WebFolder:
    """Files under one address, as a web server or a release page has them."""

    client: httpx2.AsyncClient
    address: str

    async def offer(self, name: str, arch: str, version: str | None) -> Offer:
        """See `Source`."""
        stem = names_of(name, version, arch)
        manifest = await fetch_small(self._url(f"{stem}.json"), max_bytes=MAX_MANIFEST_BYTES, client=self.client)
        signature = None
        try:
            url = self._url(f"{stem}.json.sig")
            signature = await fetch_small(url, max_bytes=MAX_SIGNATURE_BYTES, client=self.client)
        except NotThere:
            pass
        return Offer(manifest, signature)

    async def fetch(self, manifest: Manifest, file: str, target: Path, report: Report) -> None:
        """See `Source`."""
        record = manifest.files[file]
        url = self._url(file_in_folder(manifest, file))
        pinned = Pinned(url, record.sha256, max_bytes=record.size, size=record.size)
        await download(pinned, target, name=manifest.name, label=file, report=report, client=self.client)

    def _url(self, file: str) -> str:
        address = checked_url(self.address)
        return str(address.copy_with(path=address.path.rstrip("/") + "/" + file))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine: to carry images on a disk, or to be served by a web server as it is."""

    path: Path

    async def offer(self, name: str, arch: str, version: str | None) -> Offer:
        """See `Source`."""
        stem = names_of(name, version, arch)
        return await asyncio.to_thread(self._offer, stem)

    async def fetch(self, manifest: Manifest, file: str, target: Path, report: Report) -> None:
        """See `Source`."""
        report(Progress(manifest.name, f"copying {file}"))
        source = self.path / file_in_folder(manifest, file)
        await asyncio.to_thread(_copy_checked, source, target, manifest.files[file])

    async def put(self, image: Image, signature: bytes | None, report: Report) -> str:
        """See `Target`."""
        manifest = image.manifest
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for file, record in manifest.files.items():
                report(Progress(image.name, f"copying {file}"))
                target = self.path / file_in_folder(manifest, file)
                if not target.exists() or await asyncio.to_thread(tree.hash_file, target) != record:
                    await asyncio.to_thread(_copy_checked, image.folder / file, target, record)
            stem = ""
            for stem in (names_of(image.name, image.version, image.arch), names_of(image.name, None, image.arch)):
                # First the signature: a manifest without its own would be refused.
                _replace(self.path / f"{stem}.json.sig", signature)
                _replace(self.path / f"{stem}.json", manifest.encode())
        except OSError as error:
            raise ImageError(f"{self.path} cannot be written to: {error.strerror}") from error
        return str(self.path / f"{stem}.json")

    def _offer(self, stem: str) -> Offer:
        manifest, signature = self.path / f"{stem}.json", self.path / f"{stem}.json.sig"
        try:
            with manifest.open("rb") as file:
                text = file.read(MAX_MANIFEST_BYTES + 1)
            return Offer(text, signature.read_bytes()[:MAX_SIGNATURE_BYTES] if signature.exists() else None)
        except FileNotFoundError as error:
            raise DownloadFailed(f"{manifest} is not there") from error
        except OSError as error:
            raise DownloadFailed(f"{error.filename} cannot be read: {error.strerror}") from error


def _copy_checked(source: Path, target: Path, record: FileRecord) -> None:
    part = _part(target)
    try:
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            raise DownloadFailed(f"{source} cannot be copied to {target}: {error.strerror}") from error
        if tree.hash_file(part) != record:
            raise DownloadFailed(f"{source} holds other bytes than its manifest says")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _replace(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    part = _part(path)
    part.write_bytes(content)
    part.replace(path)


def _part(path: Path) -> Path:
    """Where a file is written before it is whole: beside it, by a name that no other process or thread takes."""
    return path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}.part")
