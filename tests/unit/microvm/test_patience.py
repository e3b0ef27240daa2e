"""A busy host is slow: no step of a start is given up before the start is, and what is asked late is no failure."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from caisson.backends.microvm import boot
from caisson.backends.microvm import sandbox as sandbox_module
from caisson.backends.microvm.patience import EMULATED_TIMES, LEAST_S, Patience
from caisson.backends.microvm.sandbox import MicrovmSandbox
from caisson.backends.microvm.vmm import Acceleration, Home, VmmError
from caisson.errors import StartFailed
from caisson.host.cgroup import Limits, Reading
from caisson.model import MachineFacts, StartKind
from caisson.sandbox.channel import Channel
from caisson.sandbox.contract import Exited
from caisson.sandbox.protocol import (
    FROM_HOST,
    Exit,
    Fields,
    FrameDecoder,
    FrameType,
    Tag,
    encode_fields,
    encode_frame,
)
from tests.helpers.cancelling import PATIENCE_S
from tests.helpers.machines import SPEC, booter, kind
from tests.helpers.sandboxes import job

LOOKS = 3

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("acceleration", Acceleration)
@pytest.mark.parametrize("start_timeout_s", [1.0, 20.0, 60.0, 240.0])
def test_no_step_is_given_less_than_a_whole_start_and_an_emulated_one_more(
    acceleration: Acceleration, start_timeout_s: float
) -> None:
    patience = Patience.of(acceleration, start_timeout_s)
    emulated = acceleration is Acceleration.EMULATED
    assert patience.step_s >= start_timeout_s
    assert patience.step_s >= LEAST_S * (EMULATED_TIMES if emulated else 1)
    # Both boots, the answer, the saving and the reading may take all of theirs.
    assert patience.template_s >= (boot.TRIES + 3) * patience.step_s


async def test_a_boot_is_given_that_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    async def opened(machine: object, stack: object) -> None:
        pass

    async def greet(machine: object, channel: object, nonce: bytes, timeout_s: float) -> None:
        given.append(timeout_s)
        raise VmmError("not ready")

    monkeypatch.setattr(boot, "open_channel", opened)
    monkeypatch.setattr(boot, "greet", greet)
    with pytest.raises(StartFailed, match="did not start"):
        async with booter(tmp_path, Patience(77)).boot(kind(tmp_path)):
            pass
    assert given == [77] * boot.TRIES


class Machine:
    """Stopped and let go on as it is told; notes what is done to it."""

    pids = ()

    def __init__(self) -> None:
        self.done: list[str] = []
        self.stopped, self._ended = asyncio.Event(), asyncio.Event()

    async def pause(self) -> None:
        self.done.append("stopped")
        self.stopped.set()

    async def resume(self) -> None:
        self.done.append("goes on")

    async def console(self) -> bytes:
        return b""

    async def wait(self) -> None:
        await self._ended.wait()

    async def kill(self) -> None:
        self.done.append("killed")
        self._ended.set()


class Group:
    """Notes limits where the machine notes what is done to it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def limit(self, limits: Limits) -> None:
        self._machine.done.append(f"limited to {limits.cpus:g}")

    def read(self) -> Reading:
        return Reading(None, None, 0)


async def answer(guest: socket.socket, machine: Machine) -> None:
    """An agent that answers a renewal only once it was asked several times whether it lives, then runs the job."""
    loop, decoder, asked = asyncio.get_running_loop(), FrameDecoder(accept=FROM_HOST), 0
    renewal: bytes | None = None
    while True:
        for frame in decoder.feed(await loop.sock_recv(guest, 1 << 16)):
            said = b""
            if frame.type is FrameType.RENEW:
                renewal = Fields(frame.payload).blob(Tag.NONCE)
                if renewal is not None and Fields(frame.payload).blob(Tag.REHEARSE) is not None:
                    machine.done.append("rehearsed")
                    said = encode_frame(FrameType.RENEWED, encode_fields([(Tag.NONCE, renewal)]))
                    renewal = None
            elif frame.type is FrameType.PING:
                asked += 1
            elif frame.type is FrameType.START:
                ended = encode_frame(FrameType.EXIT, Exit(code=0).encode(), stream=frame.stream)
                said = encode_frame(FrameType.STARTED, stream=frame.stream) + ended
            if renewal is not None and asked >= LOOKS:
                machine.done.append("told the time")
                said = encode_frame(FrameType.RENEWED, encode_fields([(Tag.NONCE, renewal)]))
                renewal = None
            await loop.sock_sendall(guest, said)


@asynccontextmanager
async def waiting(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MicrovmSandbox]:
    """A machine that was stopped for so long that its channel has been silent for ages."""
    monkeypatch.setattr(sandbox_module, "IDLE_S", 0)
    monkeypatch.setattr(sandbox_module, "_LOOK_S", 0.001)
    ours, guest = socket.socketpair()
    guest.setblocking(False)
    fd = ours.detach()
    channel = Channel(fd, fd)
    stands_in, group, unused = cast(Any, machine), cast(Any, Group(machine)), cast(Any, None)
    sandbox = MicrovmSandbox(
        Home("waiting", Path(), group, None),
        SPEC,
        stands_in,
        channel,
        start=StartKind.RESTORED,
        facts=MachineFacts(vmm="qemu 1", acceleration="emulated"),
        ram_mb=64,
        env={},
        kept=unused,
        patience_s=PATIENCE_S,
    )
    answering = asyncio.create_task(answer(guest, machine))
    try:
        async with sandbox.watched():
            await machine.stopped.wait()
            channel._heard_at -= 1000 * sandbox_module._SILENCE_S
            yield sandbox
    finally:
        answering.cancel()
        await asyncio.wait([answering])
        channel.close()
        guest.close()


async def test_one_that_waited_for_long_and_is_slow_to_go_on_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine()
    async with asyncio.timeout(PATIENCE_S), waiting(machine, monkeypatch) as sandbox:
        events = [event async for event in sandbox.run(job("true", runtime=SPEC.runtime))]
    assert events == [Exited(code=0)]
    # The program's share of a CPU is not the share it has to go on with.
    assert machine.done == ["rehearsed", "stopped", "goes on", "told the time", "limited to 1"]


async def test_one_that_never_answers_though_it_was_asked_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(f"{__name__}.LOOKS", 1 << 30)
    monkeypatch.setattr(sandbox_module, "_SILENCE_S", 0.01)
    async with asyncio.timeout(PATIENCE_S), waiting(machine, monkeypatch) as sandbox:
        with pytest.raises(StartFailed, match="could not be woken"):
            _ = [event async for event in sandbox.run(job("true", runtime=SPEC.runtime))]
    assert machine.done == ["rehearsed", "stopped", "goes on", "killed"]
