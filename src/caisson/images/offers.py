"""What a place that has images says of one, and what it must be able to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from caisson.images.catalog import Image
from caisson.images.manifest import Manifest
from caisson.images.progress import Report


@dataclass(frozen=True, slots=True)
class Offer:
    """An image as a place describes it: none of it is to be believed before its signature or digest is checked."""

    manifest: bytes
    signature: bytes | None


class Source(Protocol):
    """Somewhere images can be pulled from."""

    async def offer(self, name: str, arch: str, version: str | None) -> Offer:
        """The manifest of an image, of its newest version if None. Raises DownloadFailed."""

    async def fetch(self, manifest: Manifest, file: str, target: Path, report: Report) -> None:
        """Put one of the files of `manifest` at `target`, exactly the right bytes. Raises DownloadFailed."""


class Target(Protocol):
    """Somewhere images can be pushed to."""

    async def put(self, image: Image, signature: bytes | None, report: Report) -> str:
        """Store an image, its manifest last; where it can be found then. Raises ImageError."""
