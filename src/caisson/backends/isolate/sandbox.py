"""One jailed process that is READY: runs one job, and dies verifiably."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import replace

from caisson.backends.isolate.files import deliver
from caisson.backends.isolate.guest import TMP_TARGET
from caisson.backends.isolate.jail import OVERHEAD_BYTES, Place
from caisson.backends.isolate.usage import MemoryWatch, Meter, mapped_bytes
from caisson.errors import SandboxCrashed, StartFailed
from caisson.host.cgroup import CgroupError, Limits
from caisson.host.jailed import Jailed
from caisson.host.pidfd import Followed
from caisson.host.pipes import Feeder
from caisson.model import Resources, StartKind, Usage
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.contract import Event, Exited, Job, SandboxSpec
from caisson.sandbox.events import FAULTS, Reader
from caisson.sandbox.protocol import MAX_PAYLOAD, FrameType, ProtocolError, Start, encode_frame

DEFAULT_CPUS = Resources().cpus
"""What a sandbox has from its boot."""
END_S = 2.0
"""How long a process may take to end after it closed its channel."""
_INPUT_BYTES = 256 * 1024
_GUEST_GRACE_MS = 1_000
OUTPUT_PATH = f"{TMP_TARGET}/caisson-output.json"
_STREAM = 1


class IsolateSandbox:
    """A `Sandbox` of the contract."""

    start = StartKind.COLD

    def __init__(
        self, place: Place, spec: SandboxSpec, jailed: Jailed, inner: Followed, channel: Channel, stdin: Feeder
    ) -> None:
        """Everything is READY: `inner` is the guest, and its handshake is done."""
        self.id = place.id
        self.spec = spec
        self.pid = inner.pid
        """The guest's process id on the host."""
        self._place = place
        self._jailed = jailed
        self._inner = inner
        self._channel = channel
        self._stdin = stdin
        self._mapped_bytes = mapped_bytes(inner.pid)
        self._meter = Meter(place.group, inner.pid)
        self._meter.begin()

    async def ping(self, timeout_s: float) -> bool:
        """See `Sandbox.ping`."""
        return await self._channel.ping(timeout_s)

    def usage(self) -> Usage:
        """See `Sandbox.usage`."""
        return self._meter.read()

    async def kill(self) -> None:
        """See `Sandbox.kill`."""
        self._meter.read()
        await self._jailed.kill()

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """See `Sandbox.run`."""
        reader = Reader(job.resources.max_output_bytes)
        limit_bytes = (self.spec.mem_mb << 20) + OVERHEAD_BYTES
        with closing(MemoryWatch(self._inner, limit_bytes, self._mapped_bytes)) as watch:
            await self._begin(job)
            while True:
                try:
                    frames = await self._channel.receive()
                    for event in reader.read(frames):
                        if isinstance(event, Exited):
                            for output in reader.read(self._channel.arrived()):
                                yield output
                            yield replace(event, out_of_memory=event.out_of_memory or watch.look_back())
                            return
                        yield event
                except ChannelClosed:
                    break
                except ProtocolError as error:
                    await self.kill()
                    raise SandboxCrashed(f"the program broke the channel protocol: {error}") from error
            async for event in self._end(reader, watch):
                yield event

    async def _begin(self, job: Job) -> None:
        try:
            await deliver(job, self._place.folder / "work")
            if job.resources.cpus != DEFAULT_CPUS:
                self._place.group.limit(Limits(cpus=job.resources.cpus))
            data = _start_frames(job)
            self._stdin.feed(job.input if job.stdin is None else job.stdin)
            await self._channel.send(data)
        except (OSError, ChannelClosed, CgroupError) as error:
            raise StartFailed("the sandbox could not be given its workload", detail=f"{self.id}: {error}") from error

    async def _end(self, reader: Reader, watch: MemoryWatch) -> AsyncGenerator[Event, None]:
        """The channel is closed without an EXIT: find out why, and tell what the plain pipes still hold."""
        left_alive = False
        try:
            async with asyncio.timeout(END_S):
                code = await self._jailed.wait()
        except TimeoutError:
            left_alive = True
            await self.kill()
            code = await self._jailed.wait()
        while frames := await self._channel.remainder():
            for event in reader.read(frames):
                yield event
        self._meter.read()
        if not reader.started:
            raise StartFailed("the sandbox died before the program began", detail=f"{self.id} ended with code {code}")
        if left_alive:
            raise SandboxCrashed("the program closed the channel to its host")
        oom_killed = self._place.group.read().oom_kills > 0 or watch.hear_of_peak(self._jailed.peak_bytes)
        if not oom_killed and (code < 0 or (code > 128 and code - 128 not in FAULTS)):
            raise SandboxCrashed("the sandbox was killed from outside", detail=f"{self.id} ended with code {code}")
        for event in reader.end(code, oom_killed):
            yield event


def _start_frames(job: Job) -> bytes:
    env = tuple(f"{name}={value}" for name, value in job.env.items())
    fits = len(job.input) <= _INPUT_BYTES
    start = Start(
        entrypoint=job.entrypoint,
        args=job.args,
        env=(*env, f"CAISSON_OUTPUT={OUTPUT_PATH}"),
        input=job.input if fits else None,
        input_size=None if fits else len(job.input),
        output_path=OUTPUT_PATH,
        limit_time_ms=round(job.resources.timeout_s * 1000) + _GUEST_GRACE_MS,
    )
    payload = start.encode()
    if len(payload) > MAX_PAYLOAD:
        raise StartFailed("the arguments and environment variables are larger than 1 MiB")
    frames = [encode_frame(FrameType.START, payload, stream=_STREAM)]
    for offset in range(0, 0 if fits else len(job.input), MAX_PAYLOAD):
        frames.append(encode_frame(FrameType.INPUT, job.input[offset : offset + MAX_PAYLOAD], stream=_STREAM))
    return b"".join(frames)
