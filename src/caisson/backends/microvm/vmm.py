"""The contract with a virtual machine monitor: boot a machine, freeze and copy it, talk to its agent, end it.

Everything above it (images, agent, channel, templates, pool, limits) is the same for every VMM; everything a VMM has of
its own (command line, control socket, jail, device model) stays behind these few verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from caisson.backends.microvm.memory import Pages
from caisson.host.cgroup import Group


class Acceleration(StrEnum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    EMULATED = "emulated"


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a machine starts from. Its agent is in the initramfs, as `/caisson/agent`, and is the first process."""

    path: Path
    """An uncompressed ELF image with a PVH entry, or a bzImage."""
    initramfs: Path
    release: str
    """For people, such as `6.1.192`."""
    digest: str
    """Of kernel and initramfs together: part of a template's key."""
    needs_acpi: bool
    """True for a distribution's kernel, which finds its devices through ACPI and not on its command line."""


@dataclass(frozen=True, slots=True)
class Drive:
    """A raw block device. Drives appear in the guest as `/dev/vda`, `/dev/vdb`, … in the order of the configuration."""

    path: Path
    read_only: bool


@dataclass(frozen=True, slots=True)
class Nic:
    """One network card on a TAP device that exists already."""

    tap: str
    netns: Path
    """The network namespace the TAP lies in, as a path to hand to setns(2)."""
    mac: str


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """The hardware of a machine. A machine loaded from a snapshot must have the one it was saved with, paths apart."""

    vcpus: int
    ram_mb: int
    kernel: Kernel
    drives: tuple[Drive, ...]
    nic: Nic | None = None
    agent: tuple[str, ...] = ()
    """The agent's arguments but for `--init` and `--channel`, which the VMM adds; none has white space or is `--`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the agent and so of the harness, as words of the kernel's command line: without `"`."""

    @property
    def env_words(self) -> list[str]:
        """The environment for the kernel's command line; it takes the quotes away again (kernel/params.c)."""
        return [f'{name}="{value}"' if " " in value else f"{name}={value}" for name, value in self.env.items()]


@dataclass(frozen=True, slots=True)
class Home:
    """What the backend gives one machine to live in. All of it is made before, and removed after, by the backend."""

    id: str
    folder: Path
    """An empty folder that only root may enter; the VMM's own files may lie in it, in folders it opens to `uid`."""
    group: Group
    """The control groups: the VMM's process is attached to them before the guest runs."""
    uid: int | None
    """User and group id for the VMM's process; None where the server is not root and the process stays its user."""


@dataclass(frozen=True, slots=True)
class Increment:
    """How a machine that was loaded from a snapshot, and then went on, differs from it."""

    state: bytes
    """All that is not memory: instead of the snapshot's."""
    pages: Pages
    """What its memory has that the snapshot's has not."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved machine: two files that were verified and that nobody changes while this object is in use."""

    folder: Path
    memory_fd: int
    """The guest's memory in a sealed memfd, which any number of clones may map privately."""
    increment: Increment | None = None
    """If not None, what is to be continued is this, and not the snapshot itself."""

    @property
    def memory(self) -> Path:
        """The guest's memory as a file, with holes where it was never touched."""
        return self.folder / "memory"

    @property
    def state(self) -> Path:
        """All that is not memory, in the VMM's own format."""
        return self.folder / "state"


class EndKind(StrEnum):
    """How a machine ended."""

    POWERED_OFF = "powered_off"
    RESET = "reset"
    """It rebooted, which after `panic=-1` means that its kernel panicked."""
    DIED = "died"
    """The VMM's process ended without saying why, or was killed."""


@dataclass(frozen=True, slots=True)
class End:
    """How a machine ended, with the VMM's last words for the log."""

    kind: EndKind
    detail: str = ""


class VmmError(Exception):
    """The VMM refused, or did not answer in time. The message is the VMM's own text; its callers add what they did."""


class IncrementRefused(VmmError):
    """This host lets nobody write into another process's memory: no increment can be loaded here."""


class Machine(Protocol):
    """One virtual machine, held by the context of `Vmm.boot` or `Vmm.load`."""

    @property
    def pids(self) -> tuple[int, ...]:
        """Every process of it on the host that is known so far, for whoever cleans up after a dead server."""
        ...

    async def connect(self) -> int:
        """The agent's channel: a connected stream socket, which becomes the caller's. Once for each machine.

        What arrives first may be left from before: the caller looks for HELLO, or for the answer to its RENEW. Raises
        VmmError if nobody listens in time.
        """
        ...

    async def pause(self) -> None:
        """Stop every virtual CPU. It costs no CPU time until `resume`. Raises VmmError."""
        ...

    async def resume(self) -> None:
        """Go on. Raises VmmError."""
        ...

    async def save(self, folder: Path) -> None:
        """Write `memory` and `state` into an existing folder. Only for one booted `to_save`, and while paused.

        The machine is of no further use afterwards: it is to be killed. Raises VmmError.
        """
        ...

    async def save_increment(self, since: Snapshot) -> Increment:
        """What became of a snapshot that it was loaded from `to_save`. Only while paused; it may go on afterwards.

        Only if the VMM `has_increments`. Raises VmmError.
        """
        ...

    async def console(self) -> bytes:
        """The last bytes the guest wrote to its serial console, at most 64 KiB; works after its end as well."""
        ...

    async def wait(self) -> End:
        """Return when the machine has ended, of itself or by `kill`."""
        ...

    async def kill(self) -> None:
        """End it, and return when its processes are verified dead. Idempotent."""
        ...


class Vmm(Protocol):
    """A virtual machine monitor that was found to work on this host."""

    name: str
    """`firecracker` or `qemu`."""
    version: str
    acceleration: Acceleration
    has_increments: bool
    """A machine can be saved again and again as it goes on, and such a save be loaded: see `Increment`."""

    def identity(self, config: MachineConfig) -> Mapping[str, str]:
        """All of the VMM and of the host that a snapshot depends on: version, machine type, model of the CPU."""
        ...

    def boot(self, config: MachineConfig, home: Home, *, to_save: bool = False) -> AbstractAsyncContextManager[Machine]:
        """A running machine, whose agent is not up yet. Leaving the context kills it and lets go of all it held.

        With `to_save`, memory is laid out for `Machine.save`. Raises VmmError; the caller's time limit applies.
        """
        ...

    def load(
        self, config: MachineConfig, snapshot: Snapshot, home: Home, *, to_save: bool = False
    ) -> AbstractAsyncContextManager[Machine]:
        """A paused machine that continues a snapshot, sharing its memory copy-on-write. As `boot` otherwise.

        With `to_save`, which only a VMM that `has_increments` is asked for, it shares nothing.
        """
        ...
