"""What can go wrong with an image from a registry.

OciError
├── NoSuchImage       there is none of this name, or not for us, or not for this machine: asking again does not help
└── RegistryTrouble   the registry, the network or the disk: asking again later may help
"""

from __future__ import annotations

from caisson.images.errors import ImageError


class OciError(ImageError):
    """An image from a registry cannot be had. Nothing half-made is left."""


class NoSuchImage(OciError):
    """There is no image to run under this name."""


class RegistryTrouble(OciError):
    """It could not be fetched now. `retry_after_s` is what the registry asked for, if it did."""

    def __init__(self, message: str, *, retry_after_s: int | None = None, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s
