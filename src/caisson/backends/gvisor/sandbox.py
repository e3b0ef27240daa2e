"""One gVisor sandbox that is READY: runs one job, and dies verifiably."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import msgspec

from caisson.backends.binaries import Binaries
from caisson.backends.gvisor.control import Control, Held
from caisson.backends.gvisor.processes import Processes
from caisson.backends.gvisor.roots import Root
from caisson.backends.gvisor.watch import Excess, Meter, Watch
from caisson.errors import SandboxCrashed, StartFailed
from caisson.host.cgroup import CgroupError, Group, Limits
from caisson.host.network.slots import Slot
from caisson.model import Resources, Runtime, StartKind, Usage
from caisson.sandbox import agent
from caisson.sandbox.channel import Channel
from caisson.sandbox.compiled import run_compiled
from caisson.sandbox.contract import Event, Exited, Job, Raised, SandboxSpec
from caisson.sandbox.launch import ENVIRONMENT
from caisson.sandbox.protocol import Exit
from caisson.sandbox.runtimes.launching import launch, launch_image

PIDS = 512
"""Threads a sandbox may have on the host. gVisor uses one or two for each of the program's, and some thirty itself."""
OVERHEAD_BYTES = 128 << 20
"""Memory granted to gVisor itself, beyond what the program was given."""
_MAPPED_BYTES = {Runtime.PYTHON: 32 << 20, Runtime.BASH: 32 << 20, Runtime.GO: 32 << 20}
_MOST_MAPPED_BYTES = 144 << 20
"""What a process may have mapped of its program and libraries: Node.js has 130 MiB, of an image nothing is known."""
_DISK_FULL = Raised("disk_full", "the program wrote more than `resources.disk_mb` allows", "")


def waiting_limits(spec: SandboxSpec) -> Limits:
    """What a sandbox may use until its workload comes and brings limits of its own."""
    default = Resources()
    return Limits(cpus=None, mem_bytes=_total_bytes(default.mem_mb, spec.disk_mb), pids=PIDS)


def job_limits(resources: Resources, spec: SandboxSpec) -> Limits:
    """What it may use from then on; the rest stays as it was."""
    return Limits(cpus=resources.cpus, mem_bytes=_total_bytes(resources.mem_mb, spec.disk_mb))


class GvisorSandbox:
    """A `Sandbox` of the contract."""

    start = StartKind.COLD

    def __init__(
        self, id: str, spec: SandboxSpec, processes: Processes, channel: Channel, group: Group, folder: Path
    ) -> None:
        """Everything is READY: the agent's handshake is done."""
        self.id = id
        self.spec = spec
        self.pid = processes.pids[0]
        """Of `runsc run`, on the host."""
        self.folder = folder
        self._processes = processes
        self._channel = channel
        self._group = group
        self._meter = Meter(group)
        self._control: Control | None = None
        self._watch: Watch | None = None
        self._root: Root | None = None
        self._slot: Slot | None = None
        self._binaries: Binaries | None = None
        self._own_bytes = 0
        self._ended = False
        """The program has; what it used was read then, and everything of it goes away now."""

    def furnish(self, root: Root, binaries: Binaries, slot: Slot | None) -> None:
        """Tell it of its root, of programs compiled before, and of its network."""
        self._root = root
        self._binaries = binaries
        self._slot = slot

    def use(self, control: Control | None) -> None:
        """Have memory watched through this connection, which becomes the sandbox's."""
        self._control = control

    def close(self) -> None:
        """Let go of what watches it. Idempotent."""
        if self._watch is not None:
            self._watch.close()
        if self._control is not None:
            self._control.close()

    def heard(self, held: Held) -> None:
        """gVisor says what the sandbox holds."""
        if self._watch is not None:
            self._watch.heard(held)

    async def ping(self, timeout_s: float) -> bool:
        """See `Sandbox.ping`."""
        return not self._processes.lacking and await self._channel.ping(timeout_s)

    def usage(self) -> Usage:
        """See `Sandbox.usage`."""
        used = self._meter.last if self._ended else self._meter.read()
        if self._slot is None:
            return used
        traffic = self._slot.counters()
        return msgspec.structs.replace(used, rx_bytes=traffic.rx_bytes, tx_bytes=traffic.tx_bytes)

    async def kill(self) -> None:
        """See `Sandbox.kill`."""
        self._meter.read()
        await self._processes.kill()

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """See `Sandbox.run`."""
        resources = job.resources
        limits, present = job_limits(resources, self.spec), waiting_limits(self.spec)
        if limits.mem_bytes == present.mem_bytes:
            limits = replace(limits, mem_bytes=None)
        try:
            self._group.limit(limits)
        except CgroupError as error:
            raise StartFailed("the sandbox could not be given its limits", detail=f"{self.id}: {error}") from error
        self._meter.begin()
        ask = self._control.ask if self._control is not None else _ask_nobody
        self._watch = Watch(resources, self.folder / "logs", ask, self._processes)
        try:
            async with aclosing(self._carry_out(job)) as events:
                async for event in events:
                    if isinstance(event, Exited):
                        self._meter.read()
                        self._ended = True
                        await self._watch.look_back(self._meter.grown_bytes, self._own_bytes)
                        if self._watch.excess is Excess.DISK:
                            yield _DISK_FULL
                        event = replace(event, out_of_memory=event.out_of_memory or self._out_of_memory())
                    yield event
        except SandboxCrashed as error:
            await self.kill()
            end = self._explain()
            if end is None:
                raise SandboxCrashed(error.message, detail=f"{self.id}: {error.detail}: {self._panic()}") from error
            for event in end:
                yield event
        finally:
            self._watch.close()

    def _carry_out(self, job: Job) -> AsyncGenerator[Event, None]:
        if self._root is None or self._binaries is None:
            raise StartFailed("the sandbox has no root", detail=self.id)
        env = {**ENVIRONMENT, **self._root.env}
        if job.runtime is Runtime.GO:
            return self._compile_and_run(job, self._binaries, self._root, env)
        settings = self._root.settings
        start = (
            launch(job, env)
            if settings is None
            else launch_image(
                job, entrypoint=settings.entrypoint, cmd=settings.cmd, env=self._root.env, workdir=settings.workdir
            )
        )
        return agent.run(self._channel, job, start, on_exit=self._account)

    def _compile_and_run(
        self, job: Job, binaries: Binaries, root: Root, env: Mapping[str, str]
    ) -> AsyncGenerator[Event, None]:
        def run(binary: bytes | None, on_binary: Callable[[bytes], None]) -> AsyncGenerator[Event, None]:
            return run_compiled(self._channel, job, env, binary=binary, on_binary=on_binary, on_exit=self._account)

        return binaries.serve(job, root.digest, run)

    def _account(self, exit: Exit) -> None:
        self._meter.account(exit.cpu_us, exit.peak_bytes)
        self._own_bytes = (exit.peak_bytes or 0) - _MAPPED_BYTES.get(self.spec.runtime, _MOST_MAPPED_BYTES)

    def _out_of_memory(self) -> bool:
        exceeded = self._watch is not None and self._watch.excess is Excess.MEMORY
        return exceeded or self._meter.oom_kills > 0

    def _explain(self) -> list[Event] | None:
        """Why a sandbox died, if it was a limit of its program's."""
        end = Exited(signal=signal.SIGKILL)
        self._meter.read()
        if self._out_of_memory():
            return [replace(end, out_of_memory=True)]
        if self._watch is not None and self._watch.excess is Excess.DISK:
            return [_DISK_FULL, end]
        if self._group.pids_refused():
            return [Raised("TooManyProcesses", "the program started more processes than a sandbox may have", ""), end]
        return None

    def _panic(self) -> str:
        """What the sentry said before it died."""
        try:
            return (self.folder / "logs" / "panic.txt").read_text(errors="replace")[:4096]
        except OSError:
            return "it left no word"


def _total_bytes(mem_mb: int, disk_mb: int) -> int:
    """What a sandbox's control group may hold: files are memory as well."""
    return (mem_mb + disk_mb << 20) + OVERHEAD_BYTES


def _ask_nobody() -> None:
    """Where the sentry cannot be asked, the control group's limit is the only one."""
