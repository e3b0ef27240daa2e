"""What sandboxes begin with: the guest image of a language, or somebody's image from a registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from caisson.errors import ImageNotFound, StartFailed
from caisson.images.catalog import Catalog, Image
from caisson.images.errors import ImageMissing
from caisson.images.languages import IMAGES, survey
from caisson.images.oci.config import Settings as ImageSettings
from caisson.images.oci.errors import NoSuchImage, OciError
from caisson.images.oci.pull import puller_for
from caisson.images.oci.reference import Reference, parse_reference
from caisson.model import Runtime
from caisson.sandbox.contract import SandboxSpec
from caisson.settings import Settings

_TOOLS = ("skopeo", "umoci", "bwrap")
"""Programs that fetch and unpack images from registries."""


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system, and what comes with it."""

    path: Path
    digest: str
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment its programs expect."""
    settings: ImageSettings | None = None
    """How an image from a registry is run."""


class Roots:
    """All that this host has."""

    def __init__(self, settings: Settings) -> None:
        self._catalog = Catalog(settings.images_folder)
        self._puller = puller_for(settings)

    def survey(self) -> tuple[dict[Runtime, Image], dict[Runtime, str]]:
        """The guest images that are here, and why runtimes are not. Raises Unavailable if there are none."""
        found, missing = survey(self._catalog)
        lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if lacking:
            missing[Runtime.OCI] = f"not installed: {', '.join(lacking)} (apt-get install skopeo umoci bubblewrap)"
        return found, missing

    def has(self, runtime: Runtime) -> bool:
        """True if sandboxes of this runtime can be booted without further ado."""
        return runtime in IMAGES and self._catalog.find(IMAGES[runtime]) is not None

    async def provide(self, spec: SandboxSpec) -> ExitStack:
        """Fetch the image that a spec names, if it names one; nobody removes it before what is returned is left.

        Raises Unavailable or StartFailed.
        """
        with ExitStack() as stack:
            try:
                if spec.image is not None:
                    await self._puller.provide(_reference(spec.image), stack)
            except NoSuchImage as error:
                raise ImageNotFound(error.message, detail=error.detail) from error
            except OciError as error:
                raise StartFailed(error.message, detail=error.detail) from error
            return stack.pop_all()

    def lease(self, spec: SandboxSpec, stack: AsyncExitStack) -> Root:
        """The root for a spec, which nobody removes before `stack` is left. Raises Unavailable."""
        try:
            if spec.image is not None:
                return self._lease_from_registry(spec.image, stack)
            image = stack.enter_context(self._catalog.lease(self._catalog.get(IMAGES[spec.runtime])))
        except ImageMissing as error:
            raise ImageNotFound(error.message, fix="caisson images build", detail=error.detail) from error
        except NoSuchImage as error:
            raise ImageNotFound(error.message, detail=error.detail) from error
        return Root(image.root, image.digest, image.manifest.env)

    def _lease_from_registry(self, name: str, stack: AsyncExitStack) -> Root:
        image = self._puller.store.find(_reference(name))
        if image is None:
            raise ImageNotFound(f"the image {name} is not on this host")
        stack.enter_context(self._puller.store.lease(image))
        settings = image.settings()
        return Root(image.root, image.digest, {"HOME": settings.home, **settings.env}, settings)


def _reference(name: str) -> Reference:
    try:
        return parse_reference(name)
    except ValueError as error:
        raise ImageNotFound(f"{name} is no name of an image: {error}") from error
