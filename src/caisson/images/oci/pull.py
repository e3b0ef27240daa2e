"""Brings an image to this machine: asks what its name stands for, fetches what is missing, unpacks it, keeps it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from caisson.images import tree
from caisson.images.oci import skopeo
from caisson.images.oci.config import read_settings
from caisson.images.oci.errors import NoSuchImage, RegistryTrouble
from caisson.images.oci.reference import Reference
from caisson.images.oci.store import CONFIG, ROOT, About, OciImage, OciStore
from caisson.images.oci.unpack import make_workdir, unpack
from caisson.settings import Settings

logger = structlog.get_logger(__name__)

AT_ONCE = 2
"""Images that are pulled at the same time; unpacking takes a CPU."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be pulled, and how."""

    access: skopeo.Access = field(default_factory=skopeo.Access)
    registries: frozenset[str] = frozenset()
    """The only hosts images come from, with their ports; empty: any."""
    max_bytes: int = 4 << 30
    refresh_s: float = 300
    """For how long a tag stands for the same image without its registry being asked."""
    offline: bool = True
    """Use what a tag last stood for while its registry cannot be asked."""
    keep_bytes: int = 20 << 30
    keep_s: float = 30 * 86_400


def puller_for(settings: Settings) -> Puller:
    """The puller that the settings describe."""
    access = skopeo.Access(
        settings.oci_auth_file, frozenset(settings.oci_insecure_registries), timeout_s=settings.oci_timeout_s
    )
    rules = Rules(
        access,
        frozenset(settings.oci_registries),
        max_bytes=settings.oci_max_mb << 20,
        refresh_s=settings.oci_refresh_s,
        offline=settings.oci_offline,
        keep_bytes=settings.oci_keep_mb << 20,
        keep_s=settings.oci_keep_days * 86_400,
    )
    return Puller(OciStore(settings.oci_folder), rules)


class Puller:
    """Pulls into one store, each image once however many want it."""

    def __init__(self, store: OciStore, rules: Rules, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._rules = rules
        self._clock = clock
        self._busy: dict[str, tuple[asyncio.Lock, int]] = {}
        """What is being fetched, and how many want it."""
        self._places = asyncio.Semaphore(AT_ONCE)

    async def provide(self, reference: Reference, stack: ExitStack) -> OciImage:
        """The image of this name, from here or from its registry, which nobody removes before `stack` is left.

        Raises OciError.
        """
        if self._rules.registries and reference.host not in self._rules.registries:
            raise NoSuchImage(f"images of {reference.name} may not be run here (CAISSON_OCI_REGISTRIES)")
        async with self._alone(str(reference)):
            return await self._provide(reference, stack)

    async def _provide(self, reference: Reference, stack: ExitStack) -> OciImage:
        named, here = self.store.named(reference), self.store.find(reference)
        if named is not None and here is not None:
            age_s = self._clock() - named.checked_at
            # What a digest stands for never changes.
            lasting = reference.digest is not None or 0 <= age_s < self._rules.refresh_s
            if lasting and self.store.keep(here, stack):
                return here
        try:
            offer = await skopeo.look(reference, self._rules.access)
        except RegistryTrouble as error:
            if here is None or not self._rules.offline or not self.store.keep(here, stack):
                raise
            logger.warning(
                "a registry could not be asked, using what is here", image=str(reference), error=error.detail
            )
            return here
        image = self._kept(offer.digest, stack)
        if image is None:
            async with self._alone(offer.digest), self._places:
                image = self._kept(offer.digest, stack) or await self._pull(reference, offer, stack)
        self.store.name(reference, offer.digest, self._clock())
        return image

    def _kept(self, digest: str, stack: ExitStack) -> OciImage | None:
        image = self.store.by_digest(digest)
        return image if image is not None and self.store.keep(image, stack) else None

    async def _pull(self, reference: Reference, offer: skopeo.Offer, stack: ExitStack) -> OciImage:
        most, began = self._rules.max_bytes, time.monotonic()
        if offer.compressed_bytes > most:
            raise NoSuchImage(f"{reference} is larger than {most >> 20} MiB (CAISSON_OCI_MAX_MB)")
        self.store.prepare()
        if offer.compressed_bytes > shutil.disk_usage(self.store.folder).free:
            raise RegistryTrouble(f"there is no room for {reference} on this server's disk")
        exact = Reference(reference.host, reference.repository, reference.tag, offer.digest)
        try:
            with self.store.pulling(), self.store.staging() as folder:
                layout, fresh = folder / "layout", folder / "image"
                fresh.mkdir(mode=0o755)
                await skopeo.copy(exact, layout, self.store.blobs, self._rules.access, most)
                # skopeo puts the blobs elsewhere if told to; umoci has to be shown them.
                tree.remove(layout / "blobs")
                (layout / "blobs").symlink_to(self.store.blobs)
                config, blobs = await asyncio.to_thread(_read_layout, layout)
                await unpack(
                    layout, self.store.blobs, fresh / ROOT, max_bytes=most, timeout_s=self._rules.access.timeout_s
                )
                (fresh / CONFIG).write_bytes(config)
                settings = read_settings(config, fresh / ROOT)
                make_workdir(fresh / ROOT, settings.workdir, settings.uid, settings.gid)
                size = await asyncio.to_thread(self._size, fresh, blobs)
                about = About(offer.digest, str(reference), skopeo.architecture(), size, blobs)
                # Leased before another server's sweep can find it; where it then is, as one may have been quicker.
                with self.store.lease(OciImage(fresh, about)):
                    image = self.store.add(fresh, about)
                    stack.enter_context(self.store.lease(image))
        except OSError as error:
            raise RegistryTrouble(f"{reference} could not be stored: {error.strerror}", detail=str(error)) from error
        took_s = round(time.monotonic() - began, 2)
        logger.info("image pulled", image=str(reference), digest=offer.digest, size=image.about.size, took_s=took_s)
        rules = self._rules
        await asyncio.to_thread(self.store.sweep, keep_bytes=rules.keep_bytes, keep_s=rules.keep_s)
        return image

    def _size(self, folder: Path, blobs: tuple[str, ...]) -> int:
        unpacked = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
        return unpacked + sum((self.store.blobs / blob.replace(":", "/")).stat().st_size for blob in blobs)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """One at a time for each key; whoever comes while another is at it finds what that one made."""
        lock, users = self._busy.get(key, (asyncio.Lock(), 0))
        self._busy[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._busy.pop(key)
            if users > 1:
                self._busy[key] = lock, users - 1


class _Blob(Struct):
    digest: str


class _Index(Struct):
    manifests: list[_Blob]


class _Manifest(Struct):
    config: _Blob
    layers: list[_Blob]


def _read_layout(layout: Path) -> tuple[bytes, tuple[str, ...]]:
    """The configuration of the one image in a layout that skopeo wrote, and all the blobs it is made of."""

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

    try:
        (top,) = msgspec.json.decode((layout / "index.json").read_bytes(), type=_Index).manifests
        manifest = msgspec.json.decode(blob(top.digest), type=_Manifest)
    except (msgspec.DecodeError, ValueError) as error:
        raise NoSuchImage(f"the image's manifest cannot be read: {error}") from error
    config = blob(manifest.config.digest)
    return config, (top.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers))
