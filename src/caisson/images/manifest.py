"""A guest image's manifest: what it is, what it holds, and the digest of every byte of it."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from caisson.images.errors import ImageDamaged

MANIFEST = "manifest.json"
ROOT = "root"
"""Folder form of an image's root file system."""
EROFS = "root.erofs"
"""Block form of the same root file system."""
SBOM = "sbom.spdx.json"
MAX_MANIFEST_BYTES = 4 << 20

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Version = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+~-]{0,127}\Z")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Bytes = Annotated[int, Meta(ge=0)]


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of an image."""

    sha256: Sha256
    size: Bytes


class TreeRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The folder `root`: a digest over names, modes and contents of all that is in it; `size` in bytes."""

    sha256: Sha256
    entries: Annotated[int, Meta(ge=0)]
    size: Bytes


class PackageRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A Debian package an image was made of."""

    name: str
    version: str
    arch: str
    source: str
    source_version: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about an image. Its digest, and so the image's, is that of its JSON text."""

    name: Name
    version: Version
    arch: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,32}\Z")]
    summary: str
    files: dict[FileName, FileRecord]
    tree: TreeRecord | None = None
    """None for images that are no root file system, such as a kernel."""
    env: dict[str, str] = {}
    """Environment that programs in the image expect; launch plans start from it."""
    packages: tuple[PackageRecord, ...] = ()
    recipe: str = ""
    """Digest of the definition it was built from: another one means that the image is out of date."""
    schema: int = 1

    @property
    def size(self) -> int:
        """Bytes on disk, both forms of the root included."""
        return sum(record.size for record in self.files.values()) + (self.tree.size if self.tree else 0)

    def encode(self) -> bytes:
        """The one JSON text of this manifest: equal manifests have equal texts."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1) + b"\n"


def decode_manifest(text: bytes) -> Manifest:
    """Read a manifest from anywhere; raises ImageDamaged if it is none that this version understands."""
    if len(text) > MAX_MANIFEST_BYTES:
        raise ImageDamaged(f"the manifest is longer than {MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageDamaged(f"the manifest is not valid: {error}") from error
    if manifest.schema != 1:
        raise ImageDamaged(f"the manifest has schema {manifest.schema}, and this version of Caisson knows 1")
    if reserved := sorted({MANIFEST, ROOT} & manifest.files.keys()):
        raise ImageDamaged(f"the manifest lists {reserved[0]} as a file")
    return manifest


def digest_of(text: bytes) -> str:
    """`sha256:…` of a manifest's text."""
    return "sha256:" + hashlib.sha256(text).hexdigest()


def is_name(text: str) -> bool:
    """True if an image may be called so."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text) is not None
