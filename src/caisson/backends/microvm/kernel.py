"""The guest's kernel and its initramfs: from the catalogue's image, with the agent inside."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from caisson.backends.microvm.initramfs import make_initramfs
from caisson.backends.microvm.vmm import Kernel
from caisson.errors import Unavailable
from caisson.images.catalog import Catalog, Image
from caisson.images.kernels import BZIMAGE, NAMES, ORDER, VMLINUX

FIX = "caisson images build kernel-cloud (a minute), or the faster one: caisson images build kernel (some minutes)"


def find_kernel(catalog: Catalog) -> Image:
    """The best kernel there is. Raises Unavailable."""
    for name in NAMES:
        if (image := catalog.find(name)) is not None:
            return image
    raise Unavailable("there is no guest kernel", fix=FIX)


def prepare_kernel(image: Image, guest: Path, folder: Path) -> Kernel:
    """Write the initramfs into `folder`, unless it is there, and say how to boot.

    `guest` is the folder with agent and harnesses. Raises OSError.
    """
    files = image.manifest.files
    own = VMLINUX in files
    modules = [] if own else [image.path(name) for name in image.path(ORDER).read_text().split()]
    data = make_initramfs(guest, modules)
    digest = hashlib.sha256(data).hexdigest()
    initramfs = folder / f"initramfs-{digest[:16]}"
    if not initramfs.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(initramfs, data)
    return Kernel(
        path=image.path(VMLINUX if own else BZIMAGE),
        initramfs=initramfs,
        release=image.version,
        digest=hashlib.sha256(f"{image.digest} {digest}".encode()).hexdigest(),
        needs_acpi=not own,
    )


def _write(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".initramfs-", delete=False) as file:
        file.write(data)
    # The VMM opens it as a user of its own.
    made = Path(file.name)
    made.chmod(0o644)
    made.rename(path)
