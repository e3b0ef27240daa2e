"""Which VMM to use on this host, found by really booting something under a time limit.

`/dev/kvm` can exist, and answer, where no kernel boots on it. A probe's answer is kept until the host boots again or
anything about it changes, because a KVM that hangs costs its whole time limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from caisson.backends.microvm.greeting import explained, greet, open_channel
from caisson.backends.microvm.place import Places
from caisson.backends.microvm.qemu import QemuVmm, find_qemu, qemu_version
from caisson.backends.microvm.qemu_command import Engine
from caisson.backends.microvm.tsc import tsc_khz
from caisson.backends.microvm.vmm import Acceleration, Kernel, MachineConfig, Vmm, VmmError
from caisson.errors import CaissonError, Unavailable
from caisson.sandbox.launch import INSIDE
from caisson.sandbox.protocol import NONCE_BYTES

logger = structlog.get_logger(__name__)

KVM = Path("/dev/kvm")
EMULATION_FIX = (
    "use a machine with hardware virtualisation (see docs/guides/host-prerequisites.md), "
    "or for learning set CAISSON_MICROVM_EMULATION=1"
)
_KVM_S = 8.0
_EMULATED_S = 20.0
_RAM_MB = 96


@dataclass(frozen=True, slots=True)
class Choice:
    """A VMM that boots machines here, and why it was chosen."""

    vmm: Vmm
    why: str


async def choose(kernel: Kernel, places: Places, cache: Path, *, emulation: bool) -> Choice:
    """The best VMM that works. Raises Unavailable, which says what would help."""
    qemu = find_qemu()
    version = await qemu_version(qemu)
    lacking = kvm_lacks()
    if lacking is None:
        vmm = QemuVmm(Engine(qemu, Acceleration.KVM, None), version)
        lacking = await _remembered(vmm, kernel, places, cache)
        if lacking is None:
            return Choice(vmm, "KVM works")
    if not emulation:
        raise Unavailable(f"no hardware virtualisation: {lacking.message}", fix=lacking.fix)
    vmm = QemuVmm(Engine(qemu, Acceleration.EMULATED, await asyncio.to_thread(tsc_khz)), version)
    failure = await try_boot(vmm, kernel, places, _EMULATED_S)
    if failure is not None:
        raise Unavailable(f"no emulated machine boots: {failure}", fix="see the server's log")
    return Choice(vmm, f"emulated, as CAISSON_MICROVM_EMULATION allows: {lacking.message}")


def kvm_lacks(device: Path = KVM) -> Unavailable | None:
    """Why KVM need not even be tried; None if it may work."""
    if not device.exists():
        return Unavailable(f"{device} does not exist", fix=EMULATION_FIX)
    if not os.access(device, os.R_OK | os.W_OK):
        return Unavailable(f"{device} is not for this user", fix="usermod -aG kvm $USER, then log in again")
    return None


async def try_boot(vmm: Vmm, kernel: Kernel, places: Places, timeout_s: float) -> str | None:
    """Boot the kernel up to its agent's greeting; what went wrong, or None."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    agent = ("--nonce", nonce.hex(), "--work", INSIDE)
    config = MachineConfig(vcpus=1, ram_mb=_RAM_MB, kernel=kernel, drives=(), agent=agent)
    try:
        async with AsyncExitStack() as stack:
            home = await stack.enter_async_context(places.take(_RAM_MB, cpus=1))
            machine = await stack.enter_async_context(vmm.boot(config, home))
            channel = await open_channel(machine, stack)
            try:
                await greet(machine, channel, nonce, timeout_s)
            except VmmError as error:
                failure = await explained(home.id, machine, error)
                logger.warning("probe did not boot", vmm=vmm.name, acceleration=vmm.acceleration, error=str(failure))
                return str(error)
    except (VmmError, CaissonError) as error:
        return str(error)
    return None


async def _remembered(vmm: Vmm, kernel: Kernel, places: Places, cache: Path) -> Unavailable | None:
    key = {**vmm.identity(MachineConfig(1, _RAM_MB, kernel, ())), "kernel": kernel.digest, "boot": _boot_id()}
    stored = _read(cache)
    if stored.get("key") == key:
        failure = stored.get("failure")
    else:
        failure = await try_boot(vmm, kernel, places, _KVM_S)
        _write(cache, {"key": key, "failure": failure})
    if failure is None:
        return None
    return Unavailable(f"{KVM} is there, but does not work ({failure})", fix=EMULATION_FIX)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _read(cache: Path) -> dict[str, object]:
    with suppress(OSError, ValueError):
        stored = json.loads(cache.read_text())
        if isinstance(stored, dict):
            return stored
    return {}


def _write(cache: Path, value: dict[str, object]) -> None:
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(value))
