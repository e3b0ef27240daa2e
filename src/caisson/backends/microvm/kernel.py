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

_ELF = b"\x7fELF"
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
    initramfs, digest = _initramfs(guest, modules, folder)
    return Kernel(
        path=image.path(VMLINUX if own else BZIMAGE),
        initramfs=initramfs,
        release=image.version,
        digest=hashlib.sha256(f"{image.digest} {digest}".encode()).hexdigest(),
        needs_acpi=not own,
    )


def own_kernel(path: Path, guest: Path, folder: Path) -> Kernel:
    """How to boot an operator's kernel, which needs no modules. Raises OSError."""
    initramfs, digest = _initramfs(guest, [], folder)
    with path.open("rb") as file:
        own = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        is_elf = file.read(len(_ELF)) == _ELF
    combined = hashlib.sha256(f"{own} {digest}".encode()).hexdigest()
    return Kernel(path.resolve(), initramfs, f"own ({own[:8]})", combined, needs_acpi=not is_elf)


def _initramfs(guest: Path, modules: list[Path], folder: Path) -> tuple[Path, str]:
    """Where it lies, written if it was not there, and its digest."""
    data = make_initramfs(guest, modules)
    digest = hashlib.sha256(data).hexdigest()
    initramfs = folder / f"initramfs-{digest[:16]}"
    if not initramfs.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(initramfs, data)
    return initramfs, digest


def _write(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".initramfs-", delete=False) as file:
        file.write(data)
    # The VMM opens it as a user of its own.
    made = Path(file.name)
    made.chmod(0o644)
    made.rename(path)
