"""What can go wrong with guest images.

ImageError
├── ImageMissing          no such image in the catalogue
├── ImageInUse            it cannot be removed while sandboxes use it
├── ImageDamaged          its bytes are not what its manifest says
├── BuildFailed           it could not be made here
├── DownloadFailed        it could not be fetched, or what came is not it
└── Untrusted             nobody this machine trusts has signed it
"""

from __future__ import annotations

from caisson.errors import CaissonError


class ImageError(CaissonError):
    """Something is wrong with a guest image."""


class ImageMissing(ImageError):
    """There is no such image."""


class ImageInUse(ImageError):
    """The image is leased and stays."""


class ImageDamaged(ImageError):
    """The image's bytes are not what its manifest says."""


class DownloadFailed(ImageError):
    """It could not be fetched, or what came is not what was wanted. Nothing has changed."""


class Untrusted(ImageError):
    """It has no signature of anybody this machine trusts."""


class BuildFailed(ImageError):
    """The image could not be built. `fix` is the command that would help, where one is known."""

    def __init__(self, message: str, *, fix: str | None = None, detail: str | None = None) -> None:
        super().__init__(f"{message}; {fix}" if fix else message, detail=detail)
        self.fix = fix
