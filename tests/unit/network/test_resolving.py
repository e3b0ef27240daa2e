"""The name service's sockets stay those of the gate, and what was made of them goes with it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import uvloop

from caisson.host.network.namespace import listening_sockets
from caisson.host.network.resolver import Resolver, resolving
from caisson.host.network.rules import Policy
from tests.helpers.leaks import open_descriptors

TURNS = 8
"""More than there are in which a service begins."""


async def _open(addresses: object, ports: object, timeout_s: int) -> None:
    raise AssertionError("nobody asked")


@contextmanager
def bound() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets like a gate's."""
    with ExitStack() as stack:
        udp, tcp = (stack.enter_context(each) for each in listening_sockets("127.0.0.1", 0))
        yield udp, tcp


@pytest.mark.parametrize("turns", range(1, TURNS))
def test_a_service_that_is_cancelled_while_it_begins_keeps_no_descriptor(turns: int) -> None:
    """In whichever turn of the server's own event loop."""

    async def serve(udp: socket.socket, tcp: socket.socket) -> None:
        async with asyncio.TaskGroup() as group, resolving(Resolver(Policy(), (), _open, group), udp, tcp):
            await asyncio.Event().wait()

    async def cut_short() -> list[str]:
        with bound() as (udp, tcp):
            before = set(open_descriptors())
            serving = asyncio.create_task(serve(udp, tcp))
            for _ in range(turns):
                await asyncio.sleep(0)
            serving.cancel()
            await asyncio.wait([serving])
            assert serving.cancelled()
            # Transports close in a turn of their own.
            await asyncio.sleep(0.01)
            return sorted(set(open_descriptors()) - before)

    loop = uvloop.new_event_loop()
    assert loop.run_until_complete(cut_short()) == []
    # A loop that has forgotten a socket never ends to close, and a server would never end.
    loop.close()
