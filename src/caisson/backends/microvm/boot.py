"""Brings machines up: by a boot, or as a copy of a template, and lets nobody have one before it is its own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from caisson import metrics
from caisson.backends.binaries import Binaries
from caisson.backends.leftovers import write_state
from caisson.backends.microvm.disk import blank_disk, copy_disk
from caisson.backends.microvm.greeting import explained, greet, open_channel
from caisson.backends.microvm.parents import Parent, Parents
from caisson.backends.microvm.patience import Patience
from caisson.backends.microvm.place import Places
from caisson.backends.microvm.sandbox import Kept, MicrovmSandbox, rehearse, renew
from caisson.backends.microvm.sizes import ram_mb, vcpus
from caisson.backends.microvm.snapshot import Damaged, Key, Template, Templates
from caisson.backends.microvm.vmm import (
    Drive,
    Home,
    IncrementRefused,
    Kernel,
    Machine,
    MachineConfig,
    Nic,
    Snapshot,
    Vmm,
    VmmError,
)
from caisson.errors import StartFailed, Unavailable
from caisson.host.cgroup import CgroupError
from caisson.host.network.gate import GUEST_MAC, NetworkError
from caisson.host.network.gate import Kind as Attachment
from caisson.host.network.rules import GATE_ADDRESS, GUEST_ADDRESS, PREFIX_LENGTH
from caisson.host.network.slots import Slot, Slots
from caisson.host.process import CommandFailed
from caisson.host.shield import uninterrupted
from caisson.images.build import USER_ID
from caisson.images.catalog import Image
from caisson.model import MachineFacts, Network, StartKind
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.contract import SandboxSpec
from caisson.sandbox.launch import ENVIRONMENT, WORK
from caisson.sandbox.protocol import NONCE_BYTES, ProtocolError

logger = structlog.get_logger(__name__)

TRIES = 2
CHILD_S = 5.0
"""So long a copy waits for an interpreter that is started for it; one that hangs is not to cost it its whole start."""
FAULTS = (VmmError, ChannelClosed, ProtocolError, TimeoutError, CgroupError, CommandFailed, NetworkError, OSError)
CARD = f"{GUEST_ADDRESS}/{PREFIX_LENGTH},{GATE_ADDRESS}"
"""What the agent gives the network card: the same in every slot, so that copies of one machine need not change it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """All that machines which come from one template have in common."""

    spec: SandboxSpec
    image: Image
    harness: tuple[str, ...]

    @property
    def env(self) -> Mapping[str, str]:
        """Environment of the interpreter, and of programs."""
        return {**ENVIRONMENT, **self.image.manifest.env}

    @property
    def has_network(self) -> bool:
        """It has a card. What that reaches is the slot's affair, and not the template's."""
        return self.spec.network != "none"

    @property
    def vcpus(self) -> int:
        """CPUs of the machine."""
        return vcpus(self.spec)


@dataclass(slots=True)
class Booter:
    """Boots machines with one VMM and one kernel."""

    vmm: Vmm
    kernel: Kernel
    places: Places
    templates: Templates | None
    """None: every machine is booted."""
    disks: Path
    binaries: Binaries
    patience: Patience
    slots: Slots | None = None
    """None: no machine gets a network."""
    parents: Parents | None = None
    """None: every copy of a template starts its interpreter itself."""

    @asynccontextmanager
    async def boot(self, kind: Kind) -> AsyncIterator[MicrovmSandbox]:
        """A machine that is READY and like no other. Raises StartFailed or Unavailable."""
        async with AsyncExitStack() as stack:
            try:
                slot = await self._slot(kind.spec.network, stack)
                if self.templates is None or kind.spec.start is StartKind.COLD:
                    sandbox = await self._fresh(kind, slot, stack)
                else:
                    template = await stack.enter_async_context(self._template(self.templates, kind))
                    start = StartKind.COLD if template.take_first() else StartKind.RESTORED
                    sandbox = await self._copy(kind, slot, template, start, stack)
            except (*FAULTS, Damaged) as error:
                raise StartFailed("the sandbox did not start", detail=str(error)) from error
            await stack.enter_async_context(sandbox.watched())
            yield sandbox

    async def prepare(self, kind: Kind) -> None:
        """Make the template that `boot` will copy, if there is to be one. Raises StartFailed or Unavailable."""
        if self.templates is None or kind.spec.start is StartKind.COLD:
            return
        try:
            async with self._template(self.templates, kind):
                pass
        except (*FAULTS, Damaged) as error:
            raise StartFailed("the sandbox did not start", detail=str(error)) from error

    def ram_mb(self, kind: Kind) -> int:
        """Memory of the machine."""
        return ram_mb(kind.spec, self.kernel)

    def _template(self, templates: Templates, kind: Kind) -> AbstractAsyncContextManager[Template]:
        return templates.use(self.key(kind), lambda folder: self._make(kind, folder))

    async def _slot(self, network: Network, stack: AsyncExitStack) -> Slot | None:
        """The machine's network, if it is to have one. Raises StartFailed or Unavailable."""
        if network == "none":
            return None
        if self.slots is None:
            raise Unavailable("this host gives sandboxes no network")
        try:
            return await stack.enter_async_context(self.slots.take(network, Attachment.TAP))
        except NetworkError as error:
            raise StartFailed("the sandbox was given no network", detail=error.detail) from error

    @asynccontextmanager
    async def _home(self, kind: Kind, slot: Slot | None) -> AsyncIterator[Home]:
        async with self.places.take(self.ram_mb(kind), kind.vcpus) as home:
            if slot is not None and home.uid is not None:
                await slot.give_tap(home.uid)
            yield home

    def key(self, kind: Kind) -> Key:
        """Everything a template depends on."""
        config = self._config(kind, (), None)
        return {
            **self.vmm.identity(config),
            "kernel": self.kernel.digest,
            "agent": " ".join(config.agent),
            "env": " ".join(f"{name}={value}" for name, value in config.env.items()),
            "image": kind.image.digest,
            "runtime": kind.spec.runtime,
            "ram_mb": str(config.ram_mb),
            "disk_mb": str(kind.spec.disk_mb),
            "vcpus": str(config.vcpus),
            "nic": GUEST_MAC if kind.has_network else "",
        }

    async def _fresh(self, kind: Kind, slot: Slot | None, stack: AsyncExitStack) -> MicrovmSandbox:
        home = await stack.enter_async_context(self._home(kind, slot))
        began = time.monotonic()
        machine, channel = await self._up(kind, slot, home, stack, to_save=False)
        facts = self._facts(boot_ms=_ms_since(began))
        return self._sandbox(home, kind, slot, machine, channel, StartKind.COLD, facts)

    async def _copy(
        self, kind: Kind, slot: Slot | None, template: Template, start: StartKind, stack: AsyncExitStack
    ) -> MicrovmSandbox:
        home = await stack.enter_async_context(self._home(kind, slot))
        snapshot = await self._saved(kind, template, home)
        began = time.monotonic()
        with self._counted("restore"):
            try:
                machine, channel = await self._continue(kind, slot, home, snapshot, stack)
            except IncrementRefused:
                if self.parents is not None:
                    self.parents.is_of_use = False
                raise
            restore_ms = _ms_since(began)
            try:
                keep = snapshot.increment is not None
                await renew(channel, home.id, self.patience.step_s, keep_interpreter=keep)
            except FAULTS as error:
                raise await explained(home.id, machine, error) from error
        facts = self._facts(restore_ms=restore_ms, renew_ms=round(_ms_since(began) - restore_ms, 3))
        return self._sandbox(home, kind, slot, machine, channel, start, facts)

    async def _saved(self, kind: Kind, template: Template, home: Home) -> Snapshot:
        """What a copy continues, whose disk is in its home then: a parent's child, else the template itself."""
        disk = home.folder / "disk"
        if kind.harness and self.parents is not None and self.vmm.has_increments:
            try:
                async with asyncio.timeout(CHILD_S):
                    child = await self.parents.take(template, lambda: self._parent(kind, template))
                if child is not None:
                    child.disk.rename(disk)
                    return replace(template.snapshot, increment=child.increment)
            except FAULTS as error:
                # The copy can start its interpreter itself, only later.
                metrics.machines_failed.labels(self.vmm.name, "parent").inc()
                logger.warning("a copy has to start its interpreter itself", error=f"{type(error).__name__} {error}")
        await _copy_disk(template.disk, disk)
        return template.snapshot

    async def _continue(
        self,
        kind: Kind,
        slot: Slot | None,
        home: Home,
        snapshot: Snapshot,
        stack: AsyncExitStack,
        *,
        to_save: bool = False,
    ) -> tuple[Machine, Channel]:
        """A machine that goes on from where it was saved. Raises one of FAULTS."""
        config = self._config(kind, (Drive(kind.image.erofs, True), Drive(home.folder / "disk", False)), slot)
        machine = await stack.enter_async_context(self.vmm.load(config, snapshot, home, to_save=to_save))
        write_state(home.folder, machine.pids, home.group.paths)
        try:
            # Before the connection: Firecracker can make one only with a guest that runs.
            await machine.resume()
            return machine, await open_channel(machine, stack)
        except FAULTS as error:
            raise await explained(home.id, machine, error) from error

    @asynccontextmanager
    async def _parent(self, kind: Kind, template: Template) -> AsyncIterator[Parent]:
        async with AsyncExitStack() as stack:
            # No program runs in it, so that any network will do.
            slot = await self._slot("egress" if kind.has_network else "none", stack)
            home = await stack.enter_async_context(self._home(kind, slot))
            await _copy_disk(template.disk, home.folder / "disk")
            machine, channel = await self._continue(kind, slot, home, template.snapshot, stack, to_save=True)
            yield Parent(home, machine, channel, template, self.patience.step_s)

    async def _make(self, kind: Kind, folder: Path) -> None:
        """Make a template's files from a boot that is used for nothing else."""
        async with AsyncExitStack() as stack:
            # No program runs in it, so that any network will do.
            slot = await self._slot("egress" if kind.has_network else "none", stack)
            home = await stack.enter_async_context(self._home(kind, slot))
            machine, channel = await self._up(kind, slot, home, stack, to_save=True)
            # Its answer is the last thing under way: a snapshot must not hold half a frame.
            await rehearse(channel, self.patience.step_s)
            with self._counted("save"):
                async with asyncio.timeout(self.patience.step_s):
                    await machine.pause()
                    await machine.save(folder)
                await _copy_disk(home.folder / "disk", folder / "disk")
        metrics.machine_templates_built.labels(self.vmm.name).inc()

    async def _up(
        self, kind: Kind, slot: Slot | None, home: Home, stack: AsyncExitStack, *, to_save: bool
    ) -> tuple[Machine, Channel]:
        """A booted machine whose agent and interpreter wait. Raises one of FAULTS."""
        disk = home.folder / "disk"
        blank = await blank_disk(self.disks, kind.spec.disk_mb)
        for attempt in range(TRIES):
            disk.unlink(missing_ok=True)
            await _copy_disk(blank, disk)
            nonce = secrets.token_bytes(NONCE_BYTES)
            config = self._config(kind, (Drive(kind.image.erofs, True), Drive(disk, False)), slot, nonce.hex())
            began = time.monotonic()
            async with AsyncExitStack() as trial:
                machine = await trial.enter_async_context(self.vmm.boot(config, home, to_save=to_save))
                write_state(home.folder, machine.pids, home.group.paths)
                try:
                    channel = await open_channel(machine, trial)
                    await greet(machine, channel, nonce, self.patience.step_s)
                    await stack.enter_async_context(trial.pop_all())
                    metrics.machine_boot_seconds.labels(self.vmm.name).observe(time.monotonic() - began)
                    return machine, channel
                except FAULTS as error:
                    failure = await explained(home.id, machine, error)
            metrics.machines_failed.labels(self.vmm.name, "boot").inc()
            logger.warning("machine did not boot", attempt=attempt + 1, error=str(failure))
        raise failure

    def _sandbox(
        self,
        home: Home,
        kind: Kind,
        slot: Slot | None,
        machine: Machine,
        channel: Channel,
        start: StartKind,
        facts: MachineFacts,
    ) -> MicrovmSandbox:
        return MicrovmSandbox(
            home,
            kind.spec,
            machine,
            channel,
            start=start,
            facts=facts,
            ram_mb=self.ram_mb(kind),
            env=kind.env,
            kept=Kept(self.binaries, kind.image.digest),
            patience_s=self.patience.step_s,
            slot=slot,
        )

    def _facts(
        self, *, boot_ms: float | None = None, restore_ms: float | None = None, renew_ms: float | None = None
    ) -> MachineFacts:
        for histogram, ms in (
            (metrics.machine_restore_seconds, restore_ms),
            (metrics.machine_renew_seconds, renew_ms),
        ):
            if ms is not None:
                histogram.labels(self.vmm.name).observe(ms / 1000)
        return MachineFacts(
            vmm=f"{self.vmm.name} {self.vmm.version}",
            acceleration=self.vmm.acceleration,
            boot_ms=boot_ms,
            restore_ms=restore_ms,
            renew_ms=renew_ms,
        )

    @contextmanager
    def _counted(self, step: str) -> Iterator[None]:
        try:
            yield
        except FAULTS:
            metrics.machines_failed.labels(self.vmm.name, step).inc()
            raise

    def _config(self, kind: Kind, drives: tuple[Drive, ...], slot: Slot | None, nonce: str = "") -> MachineConfig:
        agent = ["--nonce", nonce, "--root", "/dev/vda", "--disk", "/dev/vdb", "--cgroup", "/sys/fs/cgroup"]
        agent += ["--memory", str(kind.spec.mem_mb), "--work", WORK, "--user", f"{USER_ID}:{USER_ID}"]
        agent += ["--network", CARD] if kind.has_network else []
        agent += ["--harness", *kind.harness] if kind.harness else []
        return MachineConfig(
            vcpus=kind.vcpus,
            ram_mb=self.ram_mb(kind),
            kernel=self.kernel,
            drives=drives,
            nic=None if slot is None or slot.tap is None else Nic(slot.tap, slot.gate, slot.mac),
            agent=tuple(agent),
            env=kind.env,
        )


async def _copy_disk(source: Path, target: Path) -> None:
    # A thread that nobody waits for would put its file into a folder that is being removed.
    await uninterrupted(asyncio.to_thread(copy_disk, source, target))


def _ms_since(instant: float) -> float:
    return round((time.monotonic() - instant) * 1000, 3)
