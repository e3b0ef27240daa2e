"""What goes into each guest image: one small TOML file each, read by `load`."""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import files
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from caisson.images.errors import ImageMissing
from caisson.images.manifest import is_name

BUILDER = 2
"""Number of the rules in `caisson.images.build`; one more whenever they would make other bytes."""


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """How to make one image from Debian packages."""

    name: str
    summary: str
    suite: str
    """Debian's code name."""
    packages: tuple[str, ...]
    main_package: str
    """The package whose version the image is known by."""
    prepare: str = ""
    """Shell script, run in the new root as its root user after all packages are there."""
    remove: tuple[str, ...] = ()
    """Patterns of paths, relative to the root, that are left out at the end."""
    env: dict[str, str] = {}
    epoch_s: Annotated[int, Meta(ge=315_532_800)] = 1_735_689_600
    """Time of every file, in seconds since 1970: 2025-01-01 if not set. Zip archives know nothing before 1980."""

    @property
    def digest(self) -> str:
        """Changes with anything above, and with the builder's own rules."""
        text = msgspec.json.encode((BUILDER, self), order="deterministic")
        return hashlib.sha256(text).hexdigest()


def names() -> list[str]:
    """The images that can be built, `base` first."""
    found = sorted(
        entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name[-5:] == ".toml"
    )
    return sorted(found, key=lambda name: (name != "base", name))


def load(name: str) -> Definition:
    """The definition of an image; raises ImageMissing if there is none of that name."""
    file = files(__name__) / f"{name}.toml"
    if not is_name(name) or not file.is_file():
        raise ImageMissing(f"there is no definition of an image {name}")
    return msgspec.convert({"name": name, **tomllib.loads(file.read_text())}, Definition)
