"""Which guest image each runtime begins with, and which of them are here."""

from __future__ import annotations

from caisson.errors import Unavailable
from caisson.images.catalog import Catalog, Image
from caisson.model import Runtime

IMAGES = {Runtime.PYTHON: "python", Runtime.NODE: "node", Runtime.GO: "go", Runtime.BASH: "base"}
"""The guest image of each runtime."""


def survey(catalog: Catalog) -> tuple[dict[Runtime, Image], dict[Runtime, str]]:
    """The guest images that are here, and why runtimes are not. Raises Unavailable if there are none."""
    found: dict[Runtime, Image] = {}
    missing: dict[Runtime, str] = {}
    for runtime, name in IMAGES.items():
        image = catalog.find(name)
        if image is None:
            missing[runtime] = f"there is no guest image `{name}` (caisson images build {name})"
        else:
            found[runtime] = image
    if not found:
        raise Unavailable(f"there are no guest images in {catalog.folder}", fix="caisson images build")
    return found, missing
