"""Which old images to remove: those nothing has started from for long, and the longest unused where there are too many.

The current image of a name always stays, and so does what sandboxes use.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from caisson.images.catalog import Catalog, Image
from caisson.images.errors import ImageInUse
from caisson.images.transfer import DOWNLOADS


@dataclass(frozen=True, slots=True)
class Held:
    """An image as far as its removal is concerned."""

    digest: str
    size: int
    used_at_s: float
    current: bool


def removable(held: Sequence[Held], *, keep_s: float, keep_bytes: int, now_s: float) -> list[str]:
    """Digests of what is to go, in this order. Pure."""
    others = sorted((each for each in held if not each.current), key=lambda each: (each.used_at_s, each.digest))
    over = sum(each.size for each in held) - keep_bytes
    going = []
    for each in others:
        if each.used_at_s < now_s - keep_s or over > 0:
            going.append(each.digest)
            over -= each.size
    return going


def collect(catalog: Catalog, *, keep_days: float, keep_mb: int) -> list[Image]:
    """Remove what `removable` says, and downloads that nobody went on with; the images removed."""
    keep_s, now_s = keep_days * 86_400, time.time()
    images = {image.digest: image for image in catalog.images()}
    held = [
        Held(image.digest, image.manifest.size, image.used_at_s, catalog.is_current(image)) for image in images.values()
    ]
    removed = []
    for digest in removable(held, keep_s=keep_s, keep_bytes=keep_mb << 20, now_s=now_s):
        with suppress(ImageInUse):
            catalog.remove(images[digest])
            removed.append(images[digest])
    _forget_downloads(catalog.folder / DOWNLOADS, now_s - keep_s)
    return removed


def _forget_downloads(folder: Path, before_s: float) -> None:
    if folder.is_dir():
        for path in list(folder.iterdir()):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
