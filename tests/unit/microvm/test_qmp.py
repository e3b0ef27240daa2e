"""QMP: what is asked is answered, whatever comes between; what is no QMP ends the conversation and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from caisson.backends.microvm.qmp import Qmp
from caisson.backends.microvm.vmm import VmmError

GREETING = {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}

pytestmark = pytest.mark.anyio


class Qemu:
    """The other end, played by the test."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._heard = b""

    async def say(self, *messages: Mapping[str, Any] | bytes) -> None:
        """Send messages, or bytes as they are, in one piece."""
        pieces = [each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in messages]
        await self._loop.sock_sendall(self._connection, b"".join(pieces))

    async def hear(self) -> dict[str, Any]:
        """The next command."""
        while b"\n" not in self._heard:
            self._heard += await self._loop.sock_recv(self._connection, 4096)
        line, _, self._heard = self._heard.partition(b"\n")
        command: dict[str, Any] = json.loads(line)
        return command

    def hang_up(self) -> None:
        self._connection.close()


@asynccontextmanager
async def talking(events: list[tuple[str, Mapping[str, Any]]] | None = None) -> AsyncIterator[tuple[Qmp, Qemu]]:
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    heard: list[tuple[str, Mapping[str, Any]]] = [] if events is None else events
    qmp, qemu = Qmp(ours, lambda name, data: heard.append((name, data))), Qemu(theirs)
    try:
        async with asyncio.timeout(10):
            yield qmp, qemu
    finally:
        qmp.close()
        qemu.hang_up()


async def test_the_greeting_is_told_and_negotiation_is_left() -> None:
    async with talking() as (qmp, qemu):
        opening = asyncio.ensure_future(qmp.open())
        await qemu.say(GREETING)
        command = await qemu.hear()
        assert command["execute"] == "qmp_capabilities"
        await qemu.say({"return": {}, "id": command["id"]})
        assert (await opening)["version"]["qemu"]["major"] == 7


async def test_answers_find_their_questions_and_events_between_them_are_told() -> None:
    events: list[tuple[str, Mapping[str, Any]]] = []
    async with talking(events) as (qmp, qemu):
        first = asyncio.ensure_future(qmp.execute("query-status"))
        one = await qemu.hear()
        second = asyncio.ensure_future(qmp.execute("migrate", uri="fd:state", some_thing=1))
        other = await qemu.hear()
        assert other["arguments"] == {"uri": "fd:state", "some-thing": 1}
        await qemu.say(
            {"event": "STOP", "timestamp": {}},
            {"return": "second", "id": other["id"]},
            {"event": "SHUTDOWN", "data": {"reason": "guest-reset"}},
            {"return": "nobody asked", "id": 999},
            {"return": "first", "id": one["id"]},
        )
        assert (await first, await second) == ("first", "second")
    assert events == [("STOP", {}), ("SHUTDOWN", {"reason": "guest-reset"})]


async def test_an_answer_may_come_byte_by_byte() -> None:
    async with talking() as (qmp, qemu):
        asked = asyncio.ensure_future(qmp.execute("query-name"))
        answer = json.dumps({"return": {"name": "ä"}, "id": (await qemu.hear())["id"]}).encode() + b"\n"
        for number in range(len(answer)):
            await qemu.say(answer[number : number + 1])
            await asyncio.sleep(0)
        assert await asked == {"name": "ä"}


async def test_a_refusal_is_told_in_qemu_s_own_words_and_ends_nothing() -> None:
    async with talking() as (qmp, qemu):
        refused = asyncio.ensure_future(qmp.execute("cont"))
        await qemu.say({"error": {"class": "GenericError", "desc": "no such thing"}, "id": (await qemu.hear())["id"]})
        with pytest.raises(VmmError, match=r"^no such thing$"):
            await refused
        asked = asyncio.ensure_future(qmp.execute("stop"))
        await qemu.say({"return": {}, "id": (await qemu.hear())["id"]})
        assert await asked == {}


@pytest.mark.parametrize(
    "nonsense",
    [
        b"{not json}\n",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"null\n",
        b"17\n",
        b'{"id": 1}\n',
        b'{"id": 1, "error": "no"}\n',
        b'{"id": [], "return": 1}\n',
        b"[" * 100_000 + b"\n",
        b"x" * ((1 << 20) + 70_000),
    ],
    ids=["json", "utf-8", "list", "null", "number", "nothing", "error", "id", "deep", "endless"],
)
async def test_what_is_no_qmp_ends_the_conversation_with_that_reason(nonsense: bytes) -> None:
    async with talking() as (qmp, qemu):
        asked = asyncio.ensure_future(qmp.execute("query-status"))
        await qemu.hear()
        with suppress(ConnectionError):
            await qemu.say(nonsense)
        with pytest.raises(VmmError, match="QEMU said what is no QMP"):
            await asked
        with pytest.raises(VmmError, match="QEMU said what is no QMP"):
            await qmp.execute("stop")


async def test_when_qemu_ends_everybody_who_waits_is_told() -> None:
    async with talking() as (qmp, qemu):
        opening, asked = asyncio.ensure_future(qmp.open()), asyncio.ensure_future(qmp.execute("query-status"))
        await qemu.hear()
        qemu.hang_up()
        for waiting in (opening, asked):
            with pytest.raises(VmmError, match="QEMU closed the connection"):
                await waiting
        with pytest.raises(VmmError, match="QEMU closed the connection"):
            await qmp.execute("stop")


async def test_a_command_without_an_answer_is_given_up_and_a_late_answer_harms_nobody() -> None:
    async with talking() as (qmp, qemu):
        with pytest.raises(VmmError, match=r"QEMU did not answer stop within 0\.01 s"):
            await qmp.execute("stop", timeout_s=0.01)
        late = await qemu.hear()
        asked = asyncio.ensure_future(qmp.execute("cont"))
        await qemu.say({"return": "late", "id": late["id"]}, {"return": "now", "id": (await qemu.hear())["id"]})
        assert await asked == "now"


async def test_a_descriptor_is_handed_over_with_its_command() -> None:
    ours, theirs = socket.socketpair()
    qmp = Qmp(ours, lambda name, data: None)
    read_fd, write_fd = os.pipe()
    try:
        handing = asyncio.ensure_future(qmp.hand_over(write_fd, "state"))
        await asyncio.sleep(0)
        message, descriptors, _, _ = socket.recv_fds(theirs, 4096, 4)
        command = json.loads(message)
        assert (command["execute"], command["arguments"]) == ("getfd", {"fdname": "state"})
        (fd,) = descriptors
        os.write(fd, b"through")
        os.close(fd)
        assert os.read(read_fd, 100) == b"through"
        theirs.sendall(json.dumps({"return": {}, "id": command["id"]}).encode() + b"\n")
        await handing
    finally:
        os.close(read_fd)
        os.close(write_fd)
        qmp.close()
        theirs.close()


async def test_closing_twice_is_closing_once_and_later_questions_are_refused() -> None:
    async with talking() as (qmp, _):
        qmp.close()
        qmp.close()
        with pytest.raises(VmmError, match="the connection was closed"):
            await qmp.execute("stop")
