"""A micro-VM's network on real KVM: its card is a TAP that the VMM, in its jail, attaches to."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from caisson.host.network.slots import Slots
from tests.helpers.netns import HOST_ADDRESS, HOST_PRIVATE, NAME_SERVER, namespaces, need_namespaces, small_world
from tests.lab.inside.conftest import SPEC, make_backend
from tests.lab.inside.test_kvm import events_of, job, programs, result_of

REACH = """
import socket

def reach(place):
    host, _, port = place.partition(":")
    try:
        with socket.create_connection((host, int(port or 80)), timeout=20) as connection:
            return connection.recv(100).decode()
    except OSError as error:
        return "not reached"

def handler(places):
    return {place: reach(place) for place in places}
"""
pytestmark = pytest.mark.timeout(900)


def test_a_copy_reaches_what_its_network_lets_it_and_its_bytes_are_counted(vmm: str, tmp_path: Path) -> None:
    need_namespaces()
    never = [HOST_PRIVATE, "10.1.2.3", "rebound.example"]

    with small_world(f"lab-{vmm}") as world:
        world.zone.records = {"api.example.com": ("1.2.3.4",), "rebound.example": ("10.1.2.3",)}

        async def main() -> None:
            links = IPv4Network("198.18.0.0/24")
            async with Slots(f"lab-{vmm}", links, ahead=0, servers=[(NAME_SERVER, 53)]).open() as slots:
                backend = make_backend(vmm, f"lab-net-{vmm}", tmp_path, slots)
                found = await backend.probe()
                assert found.networks == {"none", "egress", "allow"}, found
                spec = backend.pool_spec(replace(SPEC, network="egress"))
                await backend.prepare(spec)
                for _ in range(2):
                    async with backend.boot(spec) as sandbox:
                        reached = result_of(await events_of(sandbox, job(REACH, ["api.example.com", *never])))
                        assert reached.pop("api.example.com") == f"1.2.3.4 {HOST_ADDRESS}"
                        assert set(reached.values()) == {"not reached"}
                        usage = sandbox.usage()
                        assert (usage.rx_bytes or 0) > 0
                        assert (usage.tx_bytes or 0) > 0

        world.run(main)
    assert programs() == []
    assert [name for name in namespaces() if "lab" in name] == []
