"""One machine that is READY: runs one job, and dies verifiably."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace

import msgspec

from caisson import metrics
from caisson.backends.binaries import Binaries
from caisson.backends.microvm.meter import Meter
from caisson.backends.microvm.vmm import Acceleration, End, EndKind, Home, Machine, VmmError
from caisson.errors import SandboxCrashed, StartFailed
from caisson.host.cgroup import CgroupError, Limits
from caisson.host.network.slots import Slot
from caisson.model import MachineFacts, Runtime, StartKind, Usage
from caisson.sandbox import agent
from caisson.sandbox.agent import Renewal
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.compiled import run_compiled
from caisson.sandbox.contract import Event, Exited, Job, SandboxSpec
from caisson.sandbox.launch import Launch
from caisson.sandbox.protocol import Exit, FrameType, ProtocolError, encode_frame
from caisson.sandbox.runtimes.launching import launch

GUEST_PIDS = 256
"""Processes and threads a program may have; more of them could silence the agent beside it."""
IDLE_S = 0.25
"""A machine that nobody took for so long is stopped until somebody does: it then costs no CPU time at all."""
_LOOK_S = 5.0
_SILENCE_S = 30.0
"""An agent that says nothing for so long, though it was asked, is taken for dead."""
_FAULTS = (StartFailed, VmmError, ChannelClosed, ProtocolError, TimeoutError)
_END_S = 2.0
_LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class Kept:
    """Programs that were compiled in machines before."""

    binaries: Binaries
    toolchain: str
    """What would compile them now: the image's digest."""


class MicrovmSandbox:
    """A `Sandbox` of the contract."""

    def __init__(
        self,
        home: Home,
        spec: SandboxSpec,
        machine: Machine,
        channel: Channel,
        *,
        start: StartKind,
        facts: MachineFacts,
        ram_mb: int,
        env: Mapping[str, str],
        kept: Kept,
        patience_s: float,
        slot: Slot | None = None,
    ) -> None:
        """The agent's handshake is done, or the machine is a copy that runs and was renewed.

        `env` is what the image wants in the environment of programs, `kept` has compiled programs, `patience_s` is
        what a machine may take to answer after it waited, and `slot` is its network.
        """
        self.id = home.id
        self.spec = spec
        self.start = start
        self.facts = facts
        self._vmm = facts.vmm.partition(" ")[0]
        self._home = home
        self._machine = machine
        self._channel = channel
        self._env = env
        self._slot = slot
        self._kept = kept
        self._meter = Meter(home.group, ram_mb)
        self._turn = asyncio.Lock()
        self._paused = False
        self._patience_s = patience_s
        self._taken_at: float | None = None
        self._end: End | None = None
        self._ended = asyncio.Event()
        self._silent = False

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While inside, the machine is stopped when it idles, its end ends the channel, and silence ends it."""
        async with asyncio.TaskGroup() as tasks:
            metrics.machines_running.labels(self._vmm).inc()
            watching = [tasks.create_task(work) for work in (self._rest(), self._await_end(), self._listen())]
            try:
                yield
            finally:
                for task in watching:
                    task.cancel()
                gauge = metrics.machines_stopped if self._paused else metrics.machines_running
                gauge.labels(self._vmm).dec()

    async def ping(self, timeout_s: float) -> bool:
        """See `Sandbox.ping`."""
        async with self._turn:
            try:
                await self._wake()
                answered = await self._channel.ping(timeout_s)
                if self._taken_at is None:
                    await self._sleep()
                return answered
            except VmmError:
                return False

    def usage(self) -> Usage:
        """See `Sandbox.usage`."""
        used = self._meter.read()
        if self._slot is None:
            return used
        traffic = self._slot.counters()
        return msgspec.structs.replace(used, rx_bytes=traffic.rx_bytes, tx_bytes=traffic.tx_bytes)

    async def kill(self) -> None:
        """See `Sandbox.kill`."""
        self._meter.read()
        await self._machine.kill()

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """See `Sandbox.run`."""
        await self._take(job)
        self._meter.begin()
        events = self._events(job)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Exited):
                    self._meter.read()
                    event = replace(event, out_of_memory=event.out_of_memory or self._starved())
                yield event

    def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        def limited(launch: Launch) -> Launch:
            # The machine's sizes are those of a class; the program's are what was asked for.
            mem_bytes, disk_bytes = job.resources.mem_mb << 20, job.resources.disk_mb << 20
            return replace(launch, limit_pids=GUEST_PIDS, limit_memory=mem_bytes, limit_disk=disk_bytes)

        if job.runtime is Runtime.GO:

            def run(binary: bytes | None, on_binary: Callable[[bytes], None]) -> AsyncGenerator[Event, None]:
                return run_compiled(
                    self._channel,
                    job,
                    self._env,
                    binary=binary,
                    on_binary=on_binary,
                    limited=limited,
                    on_exit=self._account,
                    on_death=self._explain,
                )

            return self._kept.binaries.serve(job, self._kept.toolchain, run)
        return agent.run(
            self._channel, job, limited(launch(job, self._env)), on_exit=self._account, on_death=self._explain
        )

    async def _take(self, job: Job) -> None:
        """Make the waiting machine the job's own: its limits, the clock of now, randomness of its own."""
        self._taken_at = time.monotonic()
        async with self._turn:
            try:
                stopped = self._paused
                await self._wake()
                if stopped:
                    # Its own since its boot, but for the time that passed without it.
                    with metrics.machine_round_trip_seconds.labels(self._vmm).time():
                        await _set_clock(self._channel, self._patience_s)
                # Not before: a twentieth of a CPU, say, would answer late each time that it is told the time.
                self._home.group.limit(Limits(cpus=job.resources.cpus))
            except (CgroupError, VmmError, ChannelClosed, ProtocolError, TimeoutError) as error:
                self._failed("wake")
                detail = f"{self.id}: {error}: {await self.last_words()}"
                raise StartFailed("the sandbox could not be woken", detail=detail) from error

    async def _wake(self) -> None:
        if self._paused:
            await self._machine.resume()
            self._paused = False
            metrics.machines_running.labels(self._vmm).inc()
            metrics.machines_stopped.labels(self._vmm).dec()

    async def _sleep(self) -> None:
        if not self._paused:
            await self._machine.pause()
            self._paused = True
            metrics.machines_running.labels(self._vmm).dec()
            metrics.machines_stopped.labels(self._vmm).inc()

    async def _rest(self) -> None:
        await asyncio.sleep(IDLE_S)
        async with self._turn:
            if self._taken_at is None:
                if self.facts.acceleration == Acceleration.EMULATED:
                    with suppress(*_FAULTS):
                        await rehearse(self._channel, self._patience_s)
                with suppress(VmmError):
                    await self._sleep()

    async def _await_end(self) -> None:
        self._end = await self._machine.wait()
        self._ended.set()
        self._channel.close()

    async def _listen(self) -> None:
        """Ask for a sign of life now and then while a job runs; a fork bomb, say, may have silenced the agent."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._taken_at is None:
                continue
            # One that waited for long was silent for as long, and nobody had asked it.
            if min(self._channel.silence_s, time.monotonic() - self._taken_at) > _SILENCE_S:
                self._silent = True
                await self._machine.kill()
                return
            with suppress(ChannelClosed):
                self._channel.post(encode_frame(FrameType.PING, b"alive?"))

    def _account(self, exit: Exit) -> None:
        self._meter.account(exit.peak_bytes)

    def _starved(self) -> bool:
        return self._home.group.read().oom_kills > 0

    async def _explain(self) -> Exited | None:
        """The channel ended without EXIT: how the machine ended, as far as it is the program's doing."""
        self._meter.read()
        if self._silent:
            self._failed("silent")
            raise SandboxCrashed("the sandbox's agent fell silent", detail=f"{self.id}: {await self.last_words()}")
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._ended.wait()
        if self._starved():
            return Exited(signal=signal.SIGKILL, out_of_memory=True)
        if self._end is not None and self._end.kind is EndKind.RESET:
            self._failed("panic")
            raise SandboxCrashed("the guest's kernel panicked", detail=f"{self.id}: {await self.last_words()}")
        self._failed("died")
        return None

    def _failed(self, reason: str) -> None:
        metrics.machines_failed.labels(self._vmm, reason).inc()

    async def last_words(self) -> str:
        """The end of the console, for the log."""
        text = (await self._machine.console()).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-_LAST_LINES:]) or "it left no word on its console"


async def renew(channel: Channel, name: str, patience_s: float, *, keep_interpreter: bool = False) -> None:
    """Have a copy become a machine of its own. Raises StartFailed, TimeoutError, ChannelClosed or ProtocolError."""
    async with asyncio.timeout(patience_s):
        await agent.renew(channel, Renewal(hostname=f"caisson-{name[:8]}", keep_interpreter=keep_interpreter))


async def _set_clock(channel: Channel, patience_s: float) -> None:
    async with asyncio.timeout(patience_s):
        await agent.renew(channel, Renewal(entropy=None, machine_id=None))


async def rehearse(channel: Channel, patience_s: float) -> None:
    """Have what was translated before a program comes, which is most of what an emulated machine's time goes into."""
    async with asyncio.timeout(patience_s):
        await agent.renew(channel, Renewal(entropy=None, set_clock=False, machine_id=None, rehearse=True))
