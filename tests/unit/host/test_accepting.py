"""Whoever connects is served, or told that there is no room; where not even that can be done, it is tried later."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from time import monotonic

import pytest

from caisson.host import accepting
from caisson.host.accepting import REFUSED_AT_ONCE, Acceptor

pytestmark = pytest.mark.anyio
PAUSE_S = 0.1
OFTEN = 5


class Says(asyncio.Protocol):
    """Says one word and hangs up."""

    def __init__(self, word: bytes, ended: Callable[[], None] = lambda: None) -> None:
        self._word = word
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._word)
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()


class Host:
    """Has descriptors, or none to keep, or none at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lacking = False
        self.asked_at: list[float] = []
        self.asked_often = asyncio.Event()
        monkeypatch.setattr(accepting, "require", self.require)

    def require(self) -> None:
        self.asked_at.append(monotonic())
        if len(self.asked_at) == OFTEN:
            self.asked_often.set()
        if self.lacking:
            raise OSError(errno.EMFILE, "no more")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@asynccontextmanager
async def accepted() -> AsyncIterator[tuple[str, int]]:
    """The address of an acceptor."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        acceptor = Acceptor(listener, 100, lambda: Says(b"served"), lambda ended: Says(b"refused", ended))
        try:
            async with asyncio.timeout(20):
                yield listener.getsockname()
        finally:
            acceptor.close()
            await acceptor.wait_closed()


async def told(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_all_are_served_or_refused_and_served_again(host: Host) -> None:
    many = 3 * REFUSED_AT_ONCE
    async with accepted() as address:
        for host.lacking, word in [(False, b"served"), (True, b"refused"), (False, b"served")]:
            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(told(address)) for _ in range(many)]
            assert {each.result() for each in asking} == {word}


async def test_where_nobody_can_even_be_refused_it_is_not_tried_without_a_pause(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "RETRY_S", PAUSE_S)
    host.lacking = True

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        raise OSError(errno.ENFILE, "none at all")

    async with accepted() as address:
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", accept)
            waiting = asyncio.create_task(told(address))
            await host.asked_often.wait()
        # The loop's own clock is that of its turn's begin.
        assert all(later - earlier > PAUSE_S / 2 for earlier, later in pairwise(host.asked_at))
        host.lacking = False
        assert await waiting == b"served"
