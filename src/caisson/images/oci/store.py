"""Images from registries on this machine: found by name, leased, listed, removed, and forgotten when they get old.

Below one folder: `images/<digest>/` holds an unpacked root, its configuration and what is known about it, and appears
and goes at once; `names/` says which image a name stood for, and when; `blobs/` keeps what was downloaded, so that
images share layers. Several processes may use one store; locks end with their holder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from caisson.images import tree
from caisson.images.errors import ImageInUse, ImageMissing
from caisson.images.oci.config import Settings, read_settings
from caisson.images.oci.reference import Reference

ROOT = "root"
CONFIG = "config.json"
ABOUT = "about.json"
_FOLDER_DIGITS = 32


class About(Struct, frozen=True):
    """What is known about an unpacked image."""

    digest: str
    name: str
    """As it was first asked for."""
    arch: str
    """As the image itself says."""
    size: int
    """Bytes on disk, unpacked and downloaded; layers that others share count for each."""
    blobs: tuple[str, ...]


class Named(Struct, frozen=True):
    """What a name stood for."""

    name: str
    digest: str
    checked_at: float
    """When the registry said so, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class OciImage:
    """An unpacked image on this machine."""

    folder: Path
    about: About

    @property
    def digest(self) -> str:
        """`sha256:…` of its manifest."""
        return self.about.digest

    @property
    def arch(self) -> str:
        """Its architecture, in the words of OCI and Debian: `amd64`, `arm64`."""
        return self.about.arch

    @property
    def root(self) -> Path:
        """The root file system; to be used read-only."""
        return self.folder / ROOT

    @property
    def used_at(self) -> float:
        """When a sandbox last began with it, in seconds since 1970."""
        return self.folder.stat().st_mtime

    def settings(self) -> Settings:
        """How it is run. Raises NoSuchImage if its configuration makes no sense."""
        return read_settings((self.folder / CONFIG).read_bytes(), self.root)


class OciStore:
    """The images below one folder, which need not exist before the first is pulled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.blobs = self.folder / "blobs"
        self._images = self.folder / "images"
        self._names = self.folder / "names"
        self._staging = self.folder / "staging"

    def prepare(self) -> None:
        """Make the folders. Nobody but this server's user enters: what others have packed is not for this host."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.blobs / "sha256", self._images, self._names, self._staging):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)

    def named(self, reference: Reference) -> Named | None:
        """What the name stood for when its registry was last asked."""
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._name_file(reference).read_bytes(), type=Named)
        return None

    def name(self, reference: Reference, digest: str, checked_at: float) -> None:
        """Remember what a name stands for."""
        text = msgspec.json.encode(Named(str(reference), digest, checked_at))
        file = self._name_file(reference)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(text)
        fresh.replace(file)

    def find(self, reference: Reference) -> OciImage | None:
        """The image that the name last stood for, if it is here."""
        named = self.named(reference)
        return self.by_digest(named.digest) if named else None

    def by_digest(self, digest: str) -> OciImage | None:
        """The image with this manifest, if it is here."""
        return self._read(self._images / digest.removeprefix("sha256:")[:_FOLDER_DIGITS], digest)

    def images(self) -> list[OciImage]:
        """All images, the last used first."""
        return [image for image, _ in self._by_use()]

    def names_of(self, image: OciImage) -> list[str]:
        """The names that stand for an image."""
        files = list(self._names.iterdir()) if self._names.is_dir() else []
        found = set()
        for file in files:
            with suppress(OSError, msgspec.DecodeError):
                named = msgspec.json.decode(file.read_bytes(), type=Named)
                if named.digest == image.digest:
                    found.add(named.name)
        return sorted(found)

    @contextmanager
    def lease(self, image: OciImage) -> Iterator[OciImage]:
        """Keep an image from being removed, until this process's end at most; raises ImageMissing if it is gone."""
        descriptor = self._lock(image.folder, fcntl.LOCK_SH)
        if descriptor is None:
            raise ImageMissing(f"the image {image.about.name} is being removed")
        try:
            os.utime(image.folder)
            yield image
        finally:
            os.close(descriptor)

    def keep(self, image: OciImage, stack: ExitStack) -> bool:
        """Lease an image until `stack` is left; False if it is gone."""
        try:
            stack.enter_context(self.lease(image))
        except ImageMissing:
            return False
        return True

    def remove(self, image: OciImage, *, used_at: float | None = None) -> None:
        """Remove an image, at one stroke. Raises ImageInUse if it is leased, or was used since `used_at`.

        Nothing happens if it is gone.
        """
        descriptor = self._lock(image.folder, fcntl.LOCK_EX)
        if descriptor is None:
            if image.folder.exists():
                raise ImageInUse(f"the image {image.about.name} is in use")
            return
        try:
            if used_at is not None and image.used_at != used_at:
                raise ImageInUse(f"the image {image.about.name} was used just now")
            with self.staging() as folder:
                image.folder.rename(folder / "removed")
        finally:
            os.close(descriptor)
        self._forget_names()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to put an image together in, removed at the end with what is left."""
        descriptor = None
        while descriptor is None:
            folder = self._staging / f"{os.getpid()}-{time.monotonic_ns()}"
            folder.mkdir(mode=0o755)
            # Until it is locked, a sweep may take it for what a dead process left.
            descriptor = self._lock(folder, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            try:
                # Everything in it is ours alone, whatever modes a tar gave it.
                tree.remove(folder)
            finally:
                os.close(descriptor)

    def add(self, folder: Path, about: About) -> OciImage:
        """Move a complete image out of the staging folder to where it is found."""
        (folder / ABOUT).write_bytes(msgspec.json.encode(about))
        target = self._images / about.digest.removeprefix("sha256:")[:_FOLDER_DIGITS]
        # Another process may have been quicker: its image is the same.
        with suppress(FileExistsError, OSError):
            folder.rename(target)
        image = self._read(target, about.digest)
        if image is None:
            raise ImageMissing(f"the image {about.name} could not be put into {target}")
        return image

    @contextmanager
    def pulling(self) -> Iterator[None]:
        """Keep blobs from being removed: some of them are about to belong to an image."""
        with self._store_lock(fcntl.LOCK_SH):
            yield

    def sweep(self, *, keep_bytes: int, keep_s: float, now: float | None = None) -> list[OciImage]:
        """Remove images not used for `keep_s`, then the longest unused until `keep_bytes` suffice; those in use stay.

        Blobs that belong to no image go too, unless something is being pulled, and what dead processes left half-made.
        """
        now = time.time() if now is None else now
        self._sweep_staging()
        removed, kept = [], 0
        for image, used_at in self._by_use():
            kept += image.about.size
            if now - used_at > keep_s or kept > keep_bytes:
                with suppress(ImageInUse):
                    self.remove(image, used_at=used_at)
                    removed.append(image)
                    kept -= image.about.size
        with suppress(BlockingIOError, FileNotFoundError), self._store_lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
            wanted = {blob.removeprefix("sha256:") for image in self.images() for blob in image.about.blobs}
            for blob in list((self.blobs / "sha256").iterdir()):
                if blob.name not in wanted:
                    blob.unlink(missing_ok=True)
        return removed

    def _by_use(self) -> list[tuple[OciImage, float]]:
        """All images and when each was last used, the last used first."""
        found = []
        for folder in list(self._images.iterdir()) if self._images.is_dir() else []:
            with suppress(FileNotFoundError):  # it was removed just now
                if image := self._read(folder, None):
                    found.append((image, image.used_at))
        return sorted(found, key=lambda each: (-each[1], each[0].digest))

    def _sweep_staging(self) -> None:
        for folder in list(self._staging.iterdir()) if self._staging.is_dir() else []:
            descriptor = self._lock(folder, fcntl.LOCK_EX)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)

    def _forget_names(self) -> None:
        for file in list(self._names.iterdir()):
            with suppress(OSError, msgspec.DecodeError):
                named = msgspec.json.decode(file.read_bytes(), type=Named)
                if self.by_digest(named.digest) is None:
                    file.unlink(missing_ok=True)

    @contextmanager
    def _store_lock(self, how: int) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _name_file(self, reference: Reference) -> Path:
        return self._names / f"{hashlib.sha256(str(reference).encode()).hexdigest()}.json"

    def _read(self, folder: Path, digest: str | None) -> OciImage | None:
        with suppress(OSError, msgspec.DecodeError):
            about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
            if digest in (None, about.digest):
                return OciImage(folder, about)
        return None

    @staticmethod
    def _lock(folder: Path, how: int) -> int | None:
        """A descriptor that holds a lock on a folder that is there still; None if it is gone or held otherwise."""
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            if folder.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None
