"""Several servers on one host, and several slots at once: none takes anything from another."""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Network

import pytest

from caisson.host.network import gate, host
from caisson.host.network.gate import Gate, Kind, NetworkError, Plan, make_gate
from caisson.host.network.slots import Slot, Slots
from tests.functional.network.conftest import LINKS, make_slots, traces
from tests.helpers.netns import HOST_ADDRESS, World, connect, devices, in_namespace


def test_many_at_once_are_alike_inside_and_each_keeps_to_its_own(world: World) -> None:
    async def use(slots: Slots) -> tuple[Slot, str]:
        async with slots.take("egress") as slot:
            answer = await asyncio.to_thread(connect, slot.netns, "1.2.3.4")
            assert slot.counters().rx_bytes > 0
            return slot, answer

    async def main() -> list[tuple[Slot, str]]:
        # Two nodes on one host take their numbers from the same range.
        async with make_slots("one").open() as one, make_slots("two").open() as two, asyncio.TaskGroup() as group:
            tasks = [group.create_task(use(slots)) for _ in range(4) for slots in (one, two)]
        return [task.result() for task in tasks]

    found = world.run(main)
    assert {answer for _, answer in found} == {f"1.2.3.4 {HOST_ADDRESS}"}
    assert len({slot.host_device for slot, _ in found}) == len(found)
    assert len({(slot.address, slot.mac, slot.gateway, slot.resolv_conf) for slot, _ in found}) == 1


def test_a_number_that_another_server_took_meanwhile_stays_that_servers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(f"late-{os.getpid()}-", LINKS)

    async def main() -> tuple[set[str], set[str]]:
        quicker = await make_gate(Plan(f"quick-{os.getpid()}-", LINKS), iter([7]), Kind.VETH)
        # As if both had looked before either made it.
        monkeypatch.setattr(gate, "_exists", lambda _device: False)
        slower = await make_gate(plan, iter([7, 8]), Kind.VETH)
        both = devices(world.host).values()
        await slower.teardown.close()
        with pytest.raises(NetworkError, match="all"):
            await make_gate(plan, iter([7]), Kind.VETH)
        one = devices(world.host).values()
        await quicker.teardown.close()
        return set(both), set(one)

    both, one = world.run(main)
    assert {"caisson7", "caisson8"} <= both
    assert "caisson7" in one
    assert "caisson8" not in one


def test_no_two_gates_of_one_node_have_one_number_however_few_there_are(world: World) -> None:
    plan = Plan(f"few-{os.getpid()}-", IPv4Network("198.18.0.0/30"))

    async def main() -> list[str]:
        # All three want the same two, and begin with the same.
        wanted = [make_gate(plan, iter([0, 1]), Kind.VETH) for _ in range(3)]
        made = await asyncio.gather(*wanted, return_exceptions=True)
        for each in made:
            if isinstance(each, Gate):
                assert await asyncio.to_thread(in_namespace, each.name, lambda: True)
                await each.teardown.close()
        return sorted(each.name if isinstance(each, Gate) else str(each) for each in made)

    assert world.run(main) == [
        "all 2 links in CAISSON_NETWORK_LINKS are in use",
        f"few-{os.getpid()}-0",
        f"few-{os.getpid()}-1",
    ]


def test_servers_that_stop_or_begin_together_leave_the_host_as_the_last_wants_it(world: World) -> None:
    one, two = f"together-{os.getpid()}", f"apart-{os.getpid()}"

    async def main() -> None:
        for _ in range(5):
            await asyncio.gather(host.lay_rules(one, LINKS), host.lay_rules(two, LINKS))
            assert traces(world) == (set(), True, True)
            await asyncio.gather(host.lift_rules(one), host.lift_rules(two))
            assert traces(world) == (set(), False, False)
        for _ in range(5):
            await host.lay_rules(one, LINKS)
            await asyncio.gather(host.lift_rules(one), host.lay_rules(two, LINKS))
            assert traces(world) == (set(), True, True)
            await host.lift_rules(two)
            assert traces(world) == (set(), False, False)

    world.run(main)


def test_a_server_that_is_busy_with_the_rules_for_long_is_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_TURN_S", 0.1)

    async def main() -> None:
        async with host._alone():
            with pytest.raises(NetworkError, match="another server is busy"):
                await host.lay_rules("late", LINKS)

    world.run(main)
