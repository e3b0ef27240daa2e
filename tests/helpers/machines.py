"""Machines that are none, for what the host does around one."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from caisson.backends.microvm.boot import Booter, Kind
from caisson.backends.microvm.patience import Patience
from caisson.backends.microvm.snapshot import Templates
from caisson.backends.microvm.vmm import Acceleration, Home, Kernel
from caisson.host.cgroup import Group
from caisson.images.catalog import Catalog
from caisson.model import Runtime
from caisson.sandbox.contract import SandboxSpec
from tests.helpers.images import small_image

KERNEL = Kernel(Path("vmlinux"), Path("initramfs"), "6.1", "digest", needs_acpi=False)
SPEC = SandboxSpec(Runtime.BASH, mem_mb=64, disk_mb=64)


class Machine:
    """Runs nothing, and says nothing on its console."""

    pids = ()

    async def console(self) -> bytes:
        return b""


class Vmm:
    """Its machines are there at once."""

    name, version, acceleration = "qemu", "1", Acceleration.EMULATED

    def identity(self, config: object) -> dict[str, str]:
        return {"vmm": self.name}

    @asynccontextmanager
    async def boot(self, config: object, home: object, *, to_save: bool = False) -> AsyncIterator[Machine]:
        yield Machine()


class Places:
    """Each is a folder, which must be removed whole; there is one at a time."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"

    @asynccontextmanager
    async def take(self, ram_mb: int, cpus: float) -> AsyncIterator[Home]:
        self.home.mkdir()
        try:
            yield Home("home", self.home, Group({}), None)
        finally:
            shutil.rmtree(self.home)


def booter(folder: Path, patience: Patience, templates: Templates | None = None) -> Booter:
    """Boots those machines; its empty disks lie in `disks`."""
    vmm, places, unused = cast(Any, Vmm()), cast(Any, Places(folder)), cast(Any, None)
    return Booter(vmm, KERNEL, places, templates, folder / "disks", unused, patience)


def kind(folder: Path) -> Kind:
    """A kind of machine with an image of its own."""
    return Kind(SPEC, small_image(Catalog(folder / "images"), "base"), ())
