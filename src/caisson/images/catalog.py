"""The catalogue: the guest images on this machine, each in a folder of its own that appears and goes at once.

`<images_dir>/<name>/<digest>/` holds a manifest and what it lists; the link `<name>/current` says which one `find`
answers with. Several processes may use one catalogue, servers and commands alike; locks end with their holder.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from caisson.images import tree
from caisson.images.errors import ImageDamaged, ImageInUse, ImageMissing
from caisson.images.manifest import (
    EROFS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ROOT,
    Manifest,
    decode_manifest,
    digest_of,
    is_name,
)
from caisson.images.turn import short_turn

CURRENT = "current"
STAGING = ".staging"
NOTE_USE_EVERY_S = 3600
_FOLDER_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this machine."""

    folder: Path
    manifest: Manifest
    digest: str
    """`sha256:…` of its manifest, which has the digests of everything else."""

    @property
    def name(self) -> str:
        """What it is for: `base`, `python`, `node`, `go`, `kernel`."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Version of its main package and a mark of all the packages in it."""
        return self.manifest.version

    @property
    def arch(self) -> str:
        """Debian's name of its architecture."""
        return self.manifest.arch

    @property
    def root(self) -> Path:
        """The root file system as a folder; to be used read-only."""
        return self.folder / ROOT

    @property
    def erofs(self) -> Path:
        """The root file system as a block image."""
        return self.folder / EROFS

    @property
    def installed_at_s(self) -> float:
        """When it came to this machine, in seconds since 1970."""
        return self.folder.stat().st_mtime

    @property
    def used_at_s(self) -> float:
        """When it was last leased, or came here, in seconds since 1970; up to an hour ago is not told apart."""
        return max(self.installed_at_s, (self.folder / MANIFEST).stat().st_mtime)

    def path(self, name: str) -> Path:
        """One of the files its manifest lists; raises ImageMissing if it lists no such file."""
        if name not in self.manifest.files:
            raise ImageMissing(f"image {self.name} has no file {name}")
        return self.folder / name


class Catalog:
    """The images below one folder, which need not exist before the first is installed."""

    def __init__(self, images_dir: Path) -> None:
        # A sandbox's files outlive a change of the working directory.
        self.folder = images_dir.absolute()

    def find(self, reference: str) -> Image | None:
        """The image called `NAME` (the current one), `NAME@VERSION`, or `NAME@sha256:…` (first digits do)."""
        name, _, wanted = reference.partition("@")
        if not is_name(name):
            return None
        if not wanted:
            return self._read(self.folder / name / CURRENT)
        for image in self._all(name):
            if wanted == image.version or (wanted.startswith("sha256:") and image.digest.startswith(wanted)):
                return image
        return None

    def get(self, reference: str) -> Image:
        """As `find`; raises ImageMissing, which says what would help."""
        image = self.find(reference)
        if image is None:
            raise ImageMissing(
                f"there is no image {reference} in {self.folder}; make it with: caisson images build "
                + reference.partition("@")[0]
            )
        return image

    def images(self) -> list[Image]:
        """All images, by name, the newest of a name first. Folders that are no images are left out."""
        return [image for name in self._names() for image in self._all(name)]

    def current(self) -> dict[str, str]:
        """Which image of each name is the current one, by the name of its folder; cheap to ask for, and never fails."""
        found = {}
        with suppress(OSError):
            for name in self._names():
                with suppress(OSError):
                    found[name] = (self.folder / name / CURRENT).readlink().name
        return found

    def is_current(self, image: Image) -> bool:
        """True if `find(image.name)` answers with this one."""
        with suppress(OSError):
            return (image.folder.parent / CURRENT).readlink().name == image.folder.name
        return False

    @contextmanager
    def lease(self, image: Image) -> Iterator[Image]:
        """Keep an image from being removed, until this process's end at most; raises ImageMissing if it is gone."""
        descriptor = self._lock(image, fcntl.LOCK_SH)
        if descriptor is None:
            raise ImageMissing(f"image {image.name} {image.version} is being removed")
        try:
            if time.time() - image.used_at_s > NOTE_USE_EVERY_S:
                with suppress(OSError):  # another user's catalogue
                    os.utime(descriptor)
            yield image
        finally:
            os.close(descriptor)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to put an image together in, on the catalogue's file system; removed at the end with what is left.

        What a process that died left here is removed by `sweep`.
        """
        parent = self.folder / STAGING
        parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        while True:
            folder = parent / f"{os.getpid()}-{time.monotonic_ns()}"
            folder.mkdir(mode=0o755)
            # Until it is locked, a sweep may take it for what a dead process left.
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.exists():
                    break
            os.close(descriptor)
        try:
            yield folder
        finally:
            try:
                tree.remove(folder)
            finally:
                os.close(descriptor)

    def install(self, folder: Path, manifest: Manifest, *, make_current: bool = True) -> Image:
        """Move a finished `staging` folder into the catalogue, all or nothing. What the manifest lists must be there.

        Installing what is there already leaves the old one in place and makes it current.
        """
        text = manifest.encode()
        digest = digest_of(text)
        for name in manifest.files:
            if not (folder / name).is_file():
                raise ImageDamaged(f"image {manifest.name} lacks its file {name}")
        if manifest.tree is not None and not (folder / ROOT).is_dir():
            raise ImageDamaged(f"image {manifest.name} lacks its folder {ROOT}")
        # Made whole even if it is there already, as that one may be removed before this one's turn.
        inside = folder / ".whole"
        inside.mkdir(mode=0o755)
        for name in (*manifest.files, *([ROOT] if manifest.tree else [])):
            (folder / name).rename(inside / name)
        (inside / MANIFEST).write_bytes(text)
        _sync(inside)
        with self._turn(manifest.name):
            target = self.folder / manifest.name / digest.removeprefix("sha256:")[:_FOLDER_DIGITS]
            target.parent.mkdir(exist_ok=True, mode=0o755)
            if self._read(target) is None:
                inside.rename(target)
            image = self._read(target)
            if image is None or image.digest != digest:
                raise ImageDamaged(f"{target} is in the way and is not image {manifest.name}")
            if make_current:
                self._point(image)
        return image

    def make_current(self, image: Image) -> Image:
        """Have `find` of its name answer with this image, from now on; the image. Raises ImageMissing if it is gone."""
        with self._turn(image.name):
            if self._read(image.folder) is None:
                raise ImageMissing(f"image {image.name} {image.version} was removed")
            self._point(image)
        return image

    def remove(self, image: Image) -> None:
        """Remove an image. Raises ImageInUse while it is leased; nothing happens if it is gone."""
        try:
            descriptor = self._lock(image, fcntl.LOCK_EX)
        except ImageMissing:
            return
        if descriptor is None:
            raise ImageInUse(f"image {image.name} {image.version} is in use by sandboxes; try again when they are gone")
        try:
            with self.staging() as folder, self._turn(image.name):
                current = self.is_current(image)
                image.folder.rename(folder / "removed")
                if current:
                    left = self._all(image.name)
                    if left:
                        self._point(left[0])
                    else:
                        (image.folder.parent / CURRENT).unlink(missing_ok=True)
                with suppress(OSError):  # other images of the name are there
                    image.folder.parent.rmdir()
        finally:
            os.close(descriptor)

    def verify(self, image: Image) -> None:
        """Read every byte of an image, for seconds; raises ImageDamaged, which names the first thing that is wrong."""
        where = f"image {image.name} {image.version}"
        for name, record in image.manifest.files.items():
            try:
                found = tree.hash_file(image.folder / name)
            except OSError as error:
                raise ImageDamaged(f"{where}: {name} cannot be read: {error.strerror}") from error
            if found != record:
                raise ImageDamaged(f"{where}: {name} has other bytes than its manifest says")
        if image.manifest.tree is not None:
            try:
                measured = tree.measure(image.root)
            except OSError as error:
                raise ImageDamaged(f"{where}: {error.filename} cannot be read: {error.strerror}") from error
            if measured != image.manifest.tree:
                raise ImageDamaged(f"{where}: the folder {ROOT} is not what its manifest says")

    def sweep(self) -> int:
        """Remove what dead processes left half made; how many there were."""
        swept = 0
        with suppress(FileNotFoundError):
            for folder in list((self.folder / STAGING).iterdir()):
                try:
                    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except OSError:
                    continue
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    tree.remove(folder)
                    swept += 1
                except BlockingIOError:
                    pass
                finally:
                    os.close(descriptor)
        return swept

    def _turn(self, name: str) -> AbstractContextManager[None]:
        """Others must neither bring nor take images of a name while one says which of them is current."""
        return short_turn(self.folder, f"{name}.current")

    def _names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.folder) if is_name(entry.name) and entry.is_dir())
        except FileNotFoundError:
            return []

    def _all(self, name: str) -> list[Image]:
        try:
            folders = [Path(entry) for entry in os.scandir(self.folder / name) if not entry.is_symlink()]
        except OSError:
            return []
        found = [image for folder in folders if (image := self._read(folder)) is not None]
        return sorted(found, key=lambda image: (image.installed_at_s, image.digest), reverse=True)

    def _read(self, folder: Path) -> Image | None:
        """The image in a folder, by its real name; None if there is none, or one this version cannot read."""
        try:
            folder = folder.resolve(strict=True)
            with (folder / MANIFEST).open("rb") as file:
                text = file.read(MAX_MANIFEST_BYTES + 1)
            manifest = decode_manifest(text)
        except (OSError, ImageDamaged):
            return None
        if folder.parent != (self.folder / manifest.name).resolve():
            return None
        return Image(folder, manifest, digest_of(text))

    def _point(self, image: Image) -> None:
        link = image.folder.parent / f".{os.getpid()}-{time.monotonic_ns()}"
        link.symlink_to(image.folder.name)
        link.replace(image.folder.parent / CURRENT)

    def _lock(self, image: Image, kind: int) -> int | None:
        """A descriptor that holds the lock; None if another's lock is in the way. Raises ImageMissing if it is gone."""
        path = image.folder / MANIFEST
        missing = ImageMissing(f"image {image.name} {image.version} was removed")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise missing from error
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            # It may have been moved away between the two calls.
            if not _is_same(descriptor, path):
                raise missing
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    """Have a whole folder on disk before anything points to it; see syncfs(2), which Python does not offer."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", os.fspath(folder))
    finally:
        os.close(descriptor)
