"""Which tenant had which images fetched, as far as they are here: kept beside them, for the quota `image_mb`."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from caisson.images.oci.reference import Reference, parse_reference
from caisson.images.oci.store import OciImage, OciStore

_TENANT_DIGITS = 32


class Claims:
    """The claims on one store's images. Blocking, for some file operations on each."""

    def __init__(self, store: OciStore) -> None:
        self._store = store
        self._folder = store.folder / "tenants"

    def claim(self, tenant: str, reference: Reference, limit_bytes: int | None) -> bool:
        """Note that a tenant wants an image.

        False, and nothing is noted, if the image is not among those it had fetched before and these take `limit_bytes`
        or more. An image that several tenants had fetched counts for each of them. Raises OSError.
        """
        folder = self._folder / hashlib.sha256(tenant.encode()).hexdigest()[:_TENANT_DIGITS]
        note = folder / hashlib.sha256(str(reference).encode()).hexdigest()
        if limit_bytes is not None:
            here = self._here(folder)
            if note.name not in here and sum({i.digest: i.about.size for i in here.values()}.values()) >= limit_bytes:
                return False
        if not note.exists():
            self._store.prepare()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            note.write_text(str(reference))
        return True

    def _here(self, folder: Path) -> dict[str, OciImage]:
        """The images that a tenant had fetched and that are here, by the names of the notes of them."""
        found = {}
        for note in folder.iterdir() if folder.is_dir() else ():
            # One that is empty was cut off by a crash, and counts for nothing.
            with suppress(OSError, ValueError):
                image = self._store.find(parse_reference(note.read_text()))
                if image is not None:
                    found[note.name] = image
        return found
