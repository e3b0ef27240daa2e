"""The name service of a sandbox: what it answers, what that opens, and what nobody gets it to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TypeVar

import pytest

from caisson.host.network import resolver
from caisson.host.network.slots import Slot
from tests.functional.network.conftest import slot_with
from tests.helpers.netns import HOST_ADDRESS, Looked, World, connect, datagram, in_namespace, look_up

REFUSED, NO_SUCH_NAME, SERVER_FAILURE, FORMAT_ERROR, OK = 5, 3, 2, 1, 0
T = TypeVar("T")
AAAA, TXT, ANY = 28, 16, 255


def tried(world: World, work: Callable[[Slot], T], *allow: str) -> T:
    async def main() -> T:
        async with slot_with(*allow) as slot:
            return await asyncio.to_thread(work, slot)

    return world.run(main)


def test_an_allowed_name_is_answered_and_its_addresses_opened_and_no_others(world: World) -> None:
    world.zone.records = {
        "api.example.com": ("www.example.net",),
        "www.example.net": ("93.184.216.34", "93.184.216.35"),
        "other.example.com": ("1.2.3.4",),
    }

    def work(slot: Slot) -> dict[str, object]:
        return {
            "closed before": connect(slot.netns, "93.184.216.34", 443),
            "other name": look_up(slot.netns, "other.example.com"),
            "name": look_up(slot.netns, "API.Example.com"),
            "its port": connect(slot.netns, "93.184.216.34", 443),
            "its other address": connect(slot.netns, "93.184.216.35", 443),
            "its other port": connect(slot.netns, "93.184.216.34", 80),
            "other name's address": connect(slot.netns, "1.2.3.4", 443),
            "the alias": look_up(slot.netns, "www.example.net"),
        }

    assert tried(world, work, "api.example.com:443") == {
        "closed before": "refused",
        "other name": Looked(REFUSED),
        "name": Looked(OK, ("93.184.216.34", "93.184.216.35"), 60),
        "its port": f"93.184.216.34 {HOST_ADDRESS}",
        "its other address": f"93.184.216.35 {HOST_ADDRESS}",
        "its other port": "refused",
        "other name's address": "refused",
        "the alias": Looked(REFUSED),
    }
    assert world.zone.asked == ["api.example.com"], "only names of the list are asked for, and once"


def test_a_name_without_port_opens_every_port(world: World) -> None:
    world.zone.records = {"a.example": ("1.2.3.4",)}

    def work(slot: Slot) -> tuple[object, str, str]:
        looked = look_up(slot.netns, "a.example", tcp=True)
        return looked, connect(slot.netns, "1.2.3.4", 8080), datagram(slot.netns, "1.2.3.4", 443)

    reached = f"1.2.3.4 {HOST_ADDRESS}"
    assert tried(world, work, "a.example", "a.example:80") == (Looked(OK, ("1.2.3.4",), 60), reached, reached)


def test_a_name_that_leads_into_private_networks_is_refused_unless_a_range_allows_it(world: World) -> None:
    world.zone.records = {
        "rebound.example": ("10.1.2.3",),
        "metadata.example": ("169.254.169.254",),
        "mixed.example": ("10.1.2.3", "1.2.3.4", "127.0.0.1"),
        "db.internal": ("10.2.2.3",),
    }
    names = tuple(world.zone.records)

    def work(slot: Slot) -> dict[str, Looked | None]:
        return {name: look_up(slot.netns, name) for name in names}

    assert tried(world, work, *names, "10.2.0.0/16") == {
        "rebound.example": Looked(REFUSED),
        "metadata.example": Looked(REFUSED),
        "mixed.example": Looked(OK, ("1.2.3.4",), 60),
        "db.internal": Looked(OK, ("10.2.2.3",), 60),
    }
    assert tried(world, work)["rebound.example"] == Looked(REFUSED), "with egress neither"


def test_an_allowed_name_opens_no_private_address_by_itself(world: World) -> None:
    world.zone.records = {"db.internal": ("10.2.2.3",)}

    def work(slot: Slot) -> tuple[object, str, str]:
        looked = look_up(slot.netns, "db.internal")
        return looked, connect(slot.netns, "10.2.2.3", 443), connect(slot.netns, "10.2.2.3", 80)

    assert tried(world, work, "db.internal", "10.2.2.3:443") == (
        Looked(OK, ("10.2.2.3",), 60),
        f"10.2.2.3 {HOST_ADDRESS}",
        "refused",
    )


def test_there_are_no_ipv6_addresses_and_no_other_records_of_allowed_names(world: World) -> None:
    world.zone.records = {"a.example": ("1.2.3.4",)}

    def work(slot: Slot) -> list[Looked | None]:
        return [look_up(slot.netns, "a.example", kind) for kind in (AAAA, TXT, ANY)]

    assert tried(world, work, "a.example") == [Looked(OK)] * 3
    assert world.zone.asked == []
    assert tried(world, work) == [Looked(OK), Looked(OK, ("\x02hi",), 60), Looked(OK)], (
        "egress has records of every kind"
    )


def test_egress_resolves_every_name(world: World) -> None:
    world.zone.records = {"a.example": ("1.2.3.4",)}

    def work(slot: Slot) -> list[Looked | None]:
        return [look_up(slot.netns, "a.example"), look_up(slot.netns, "nowhere.example")]

    assert tried(world, work) == [Looked(OK, ("1.2.3.4",), 60), Looked(NO_SUCH_NAME)]


def test_a_long_answer_comes_over_tcp(world: World) -> None:
    world.zone.records = {"many.example": tuple(f"1.2.3.{number}" for number in range(40))}
    world.zone.truncates = True

    def work(slot: Slot) -> tuple[Looked | None, Looked | None]:
        return look_up(slot.netns, "many.example"), look_up(slot.netns, "many.example", tcp=True)

    cut, whole = tried(world, work, "many.example:80")
    assert cut == Looked(OK)
    assert whole is not None
    assert whole.addresses == tuple(f"1.2.3.{number}" for number in range(32))


def test_a_name_server_that_says_nothing_is_a_failure_and_not_a_hang(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "UPSTREAM_TIMEOUT_S", 0.1)
    world.zone.silent = True
    assert tried(world, lambda slot: look_up(slot.netns, "a.example"), "a.example") == Looked(SERVER_FAILURE)


def test_floods_and_nonsense_leave_the_name_service_answering(world: World) -> None:
    world.zone.records = {"a.example": ("1.2.3.4",)}

    def flood(slot: Slot) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((str(slot.nameserver), 53))
            for number in range(2_000):
                # Some are refused by our own full queue; what matters is what comes after.
                with contextlib.suppress(OSError):
                    asking.send(bytes([number % 256] * (number % 100)))
        idle = [socket.create_connection((str(slot.nameserver), 53), timeout=5) for _ in range(12)]
        idle[0].sendall(b"\xff\xff half a message")
        for each in idle:
            each.close()

    def work(slot: Slot) -> Looked | None:
        in_namespace(slot.netns, lambda: flood(slot))
        return look_up(slot.netns, "a.example")

    assert tried(world, work, "a.example") == Looked(OK, ("1.2.3.4",), 60)
