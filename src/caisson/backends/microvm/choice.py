"""Which VMM to use on this host, found by really booting something under a time limit.

`/dev/kvm` can exist, and answer, where no kernel boots on it. What boots is tried again only when the host booted anew
or anything about it changed. What does not boot is tried again by a server that starts some minutes later: a KVM that
hangs costs its whole time limit, and a machine that was only busy must not go without for ever.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import stat
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from caisson.backends.microvm.firecracker.find import find_firecracker
from caisson.backends.microvm.greeting import explained, greet, open_channel
from caisson.backends.microvm.place import Places
from caisson.backends.microvm.qemu import QemuVmm, find_qemu, qemu_version
from caisson.backends.microvm.qemu_command import Engine
from caisson.backends.microvm.tsc import tsc_khz
from caisson.backends.microvm.vmm import Acceleration, Kernel, MachineConfig, Vmm, VmmError
from caisson.errors import CaissonError, Unavailable
from caisson.sandbox.launch import INSIDE
from caisson.sandbox.protocol import NONCE_BYTES
from caisson.settings import Settings

logger = structlog.get_logger(__name__)

KVM = Path("/dev/kvm")
EMULATION_FIX = (
    "use a machine with hardware virtualisation (see docs/guides/host-prerequisites.md), "
    "or for learning set CAISSON_MICROVM_EMULATION=1"
)
TRIES = 2
FAILURE_KEPT_S = 600.0
"""How long a VMM that boots nothing is not tried again."""
_KVM_SHARE = 0.2
"""Of the time that a start may take, for each try: a kernel that boots at all boots sooner; any other holds all up."""
_EMULATED_S = 20.0
_RAM_MB = 96


@dataclass(frozen=True, slots=True)
class Choice:
    """A VMM that boots machines here, and why it was chosen."""

    vmm: Vmm
    why: str


async def choose(kernel: Kernel, places: Places, cache: Path, settings: Settings) -> Choice:
    """The best VMM that works. Raises Unavailable, which says what would help."""
    lacking = kvm_lacks()
    if lacking is None:
        try:
            return await _on_kvm(kernel, places, cache, settings)
        except Unavailable as error:
            lacking = error
    if not settings.microvm_emulation or settings.microvm_vmm == "firecracker":
        raise Unavailable(f"no hardware virtualisation: {lacking.message}", fix=lacking.fix)
    qemu = find_qemu()
    engine = Engine(qemu, Acceleration.EMULATED, await asyncio.to_thread(tsc_khz))
    vmm = QemuVmm(engine, await qemu_version(qemu))
    failure = await try_boot(vmm, kernel, places, _EMULATED_S)
    if failure is not None:
        raise Unavailable(f"no emulated machine boots: {failure}", fix="see the server's log")
    return Choice(vmm, f"emulated, as CAISSON_MICROVM_EMULATION allows: {lacking.message}")


async def _on_kvm(kernel: Kernel, places: Places, cache: Path, settings: Settings) -> Choice:
    """Firecracker, or QEMU, whichever boots; both only where KVM works. Raises Unavailable."""
    wanted = settings.microvm_vmm
    qemu: Choice | Unavailable = Unavailable("QEMU is not to be used", fix=None)
    if wanted != "firecracker":
        qemu = await _qemu_on_kvm(kernel, places, cache, settings)
        if wanted == "qemu":
            if isinstance(qemu, Unavailable):
                raise qemu
            return qemu
    try:
        # Nothing is downloaded for a host of which nobody knows yet whether KVM works there.
        firecracker = await find_firecracker(settings, may_fetch=wanted == "firecracker" or isinstance(qemu, Choice))
        if kernel.needs_acpi:
            raise Unavailable("Firecracker does not boot this kernel", fix="caisson images build kernel")
        lacking = await _remembered(firecracker, kernel, places, cache, settings)
        if lacking is None:
            return Choice(firecracker, "KVM works")
    except Unavailable as error:
        lacking = error
    if isinstance(qemu, Choice):
        return Choice(qemu.vmm, f"KVM works; without Firecracker: {lacking.message}")
    raise lacking if wanted == "firecracker" else qemu


async def _qemu_on_kvm(kernel: Kernel, places: Places, cache: Path, settings: Settings) -> Choice | Unavailable:
    try:
        qemu = find_qemu()
        vmm = QemuVmm(Engine(qemu, Acceleration.KVM, None), await qemu_version(qemu))
    except Unavailable as error:
        return error
    if os.geteuid() == 0 and (shut := kvm_shut_to_jails()) is not None:
        return shut
    lacking = await _remembered(vmm, kernel, places, cache.with_name(f"qemu-{cache.name}"), settings)
    return Choice(vmm, "KVM works") if lacking is None else lacking


def kvm_lacks(device: Path = KVM) -> Unavailable | None:
    """Why KVM need not even be tried; None if it may work."""
    if not device.exists():
        return Unavailable(f"{device} does not exist", fix=EMULATION_FIX)
    if not os.access(device, os.R_OK | os.W_OK):
        return Unavailable(f"{device} is not for this user", fix="usermod -aG kvm $USER, then log in again")
    return None


def kvm_shut_to_jails(device: Path = KVM) -> Unavailable | None:
    """Why QEMU's jails, which have users of their own, cannot open KVM though root can; None if they can.

    The device's group is given to them; Firecracker's jailer makes a device for each of its users instead.
    """
    mode = device.stat().st_mode
    for both in (stat.S_IRGRP | stat.S_IWGRP, stat.S_IROTH | stat.S_IWOTH):
        if mode & both == both:
            return None
    return Unavailable(
        f"{device} is for its owner only, and QEMU runs as a user of its own",
        fix=f"chgrp kvm {device} && chmod 660 {device}",
    )


async def try_boot(vmm: Vmm, kernel: Kernel, places: Places, timeout_s: float) -> str | None:
    """Boot the kernel up to its agent's greeting, once more if it fails; what went wrong the last time, or None."""
    message = ""
    for attempt in range(TRIES):
        failure = await _try_once(vmm, kernel, places, timeout_s)
        if failure is None:
            return None
        message = failure.message
        told = {"vmm": vmm.name, "acceleration": vmm.acceleration, "attempt": attempt + 1}
        logger.warning("probe did not boot", **told, error=failure.detail)
    return message


@dataclass(frozen=True, slots=True)
class _Failure:
    """What to tell a user, and what to log."""

    message: str
    detail: str


async def _try_once(vmm: Vmm, kernel: Kernel, places: Places, timeout_s: float) -> _Failure | None:
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
                return _Failure(str(error), str(await explained(home.id, machine, error)))
    except (VmmError, CaissonError) as error:
        return _Failure(str(error), str(getattr(error, "detail", None) or error))
    return None


async def _remembered(vmm: Vmm, kernel: Kernel, places: Places, cache: Path, settings: Settings) -> Unavailable | None:
    now_s = time.time()
    key = {**vmm.identity(MachineConfig(1, _RAM_MB, kernel, ())), "kernel": kernel.digest, "boot": _boot_id()}
    stored = _read(cache)
    if stored.get("key") == key and still_holds(stored.get("failure"), stored.get("at_s"), now_s):
        failure = stored.get("failure")
    else:
        failure = await try_boot(vmm, kernel, places, settings.start_timeout_s * _KVM_SHARE)
        _write(cache, {"key": key, "failure": failure, "at_s": now_s})
    if failure is None:
        return None
    return Unavailable(f"{KVM} is there, but does not work ({failure})", fix=EMULATION_FIX)


def still_holds(failure: object, at_s: object, now_s: float) -> bool:
    """Whether an answer of then is one now: that something boots does, that nothing does holds for a while."""
    return failure is None or (isinstance(at_s, int | float) and 0 <= now_s - at_s < FAILURE_KEPT_S)


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
