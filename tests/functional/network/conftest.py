"""Slots on a host that is a namespace, in a world that is another."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from caisson.host.network.gate import Kind
from caisson.host.network.slots import Slot, Slots
from caisson.model import NetworkAllow
from tests.helpers.netns import (
    NAME_SERVER,
    World,
    devices,
    in_namespace,
    namespaces,
    need_namespaces,
    rule_set,
    small_world,
)

LINKS = IPv4Network("198.18.0.0/24")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture(scope="session")
def lasting_world() -> Iterator[World]:
    """One world for all the tests."""
    need_namespaces()
    with small_world(str(os.getpid())) as world:
        yield world


@pytest.fixture
def world(lasting_world: World) -> Iterator[World]:
    """The world, with an empty zone; afterwards no namespace may be left that was not there before."""
    before = own_namespaces()
    lasting_world.zone.clear()
    yield lasting_world
    assert own_namespaces() - before == set()


def own_namespaces() -> set[str]:
    """Those that bear this process's number; other tests run beside this one."""
    return {name for name in namespaces() if str(os.getpid()) in name}


def make_slots(node_id: str = "test", *, ahead: int = 0, forbidden: Sequence[IPv4Network] = ()) -> Slots:
    """Slots of a node, with the world's name server."""
    servers = [(NAME_SERVER, 53)]
    return Slots(f"{node_id}-{os.getpid()}", LINKS, ahead=ahead, forbidden=forbidden, servers=servers)


@asynccontextmanager
async def slot_with(*allow: str, kind: Kind = Kind.VETH, forbidden: Sequence[IPv4Network] = ()) -> AsyncIterator[Slot]:
    """A slot: `egress` if nothing is named, else what is."""
    async with AsyncExitStack() as stack:
        slots = await stack.enter_async_context(make_slots(forbidden=forbidden).open())
        yield await stack.enter_async_context(slots.take(NetworkAllow(allow=allow) if allow else "egress", kind))


def forwards(world: World) -> bool:
    return in_namespace(world.host, FORWARDING.read_text).strip() == "1"


def traces(world: World) -> tuple[set[str], bool, bool]:
    """What slots leave on a host: devices, rules, forwarding."""
    names = {name for name in devices(world.host).values() if name.startswith("caisson")}
    return names, "caisson" in rule_set(world.host), forwards(world)
