"""What a sandbox with a network reaches, and what it never does: real packets between real namespaces."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

from caisson.host.network.slots import Slot
from tests.functional.network.conftest import LINKS, make_slots, slot_with
from tests.helpers.netns import (
    HOST_ADDRESS,
    HOST_PRIVATE,
    WORLD_GATEWAY,
    World,
    connect,
    datagram,
    in_namespace,
    ip,
)

SIOCGIFADDR = 0x8915

REFUSED_ALWAYS = [
    *("169.254.169.254", "168.63.129.16", "100.100.100.200", "240.1.1.1", "127.0.0.1", "0.0.0.1"),
    *(HOST_ADDRESS, HOST_PRIVATE, str(LINKS[0]), "192.0.0.1"),
]
PRIVATE = ["10.1.2.3", "172.16.5.5", "192.168.7.7", "100.64.1.1", "198.51.100.7", "192.0.2.9"]


def tried(world: World, work: Callable[[Slot], dict[str, str]], *allow: str) -> dict[str, str]:
    async def main() -> dict[str, str]:
        async with slot_with(*allow) as slot:
            return await asyncio.to_thread(work, slot)

    return world.run(main)


def reached(slot: Slot, addresses: list[str], port: int = 80) -> dict[str, str]:
    with ThreadPoolExecutor(len(addresses)) as threads:
        answers = threads.map(lambda address: connect(slot.netns, address, port), addresses)
        return dict(zip(addresses, answers, strict=True))


def from_host(address: str) -> str:
    """The answer of a server that saw the host's address and not the sandbox's."""
    return f"{address} {HOST_ADDRESS}"


def test_egress_reaches_the_world_from_the_hosts_address(world: World) -> None:
    def work(slot: Slot) -> dict[str, str]:
        return reached(slot, ["93.184.216.34", "1.2.3.4"]) | {"udp": datagram(slot.netns, "1.2.3.4", 443)}

    assert tried(world, work) == {
        "93.184.216.34": from_host("93.184.216.34"),
        "1.2.3.4": from_host("1.2.3.4"),
        "udp": from_host("1.2.3.4"),
    }


def test_egress_never_reaches_the_host_nor_private_nor_metadata_addresses(world: World) -> None:
    def work(slot: Slot) -> dict[str, str]:
        found = reached(slot, REFUSED_ALWAYS + PRIVATE)
        return found | {f"udp {address}": datagram(slot.netns, address) for address in ("10.1.2.3", HOST_ADDRESS)}

    found = tried(world, work)
    assert set(found.values()) <= {"refused", "silence"}, found
    assert {found[address] for address in PRIVATE} == {"refused"}, "a program should be told, not left to wait"


def test_what_is_allowed_is_reached_and_nothing_else(world: World) -> None:
    def work(slot: Slot) -> dict[str, str]:
        return {
            "range": connect(slot.netns, "10.1.2.3"),
            "any port of it": connect(slot.netns, "10.1.2.3", 8080),
            "port": connect(slot.netns, "1.2.3.4", 443),
            "udp port": datagram(slot.netns, "1.2.3.4", 443),
            "other port": connect(slot.netns, "1.2.3.4", 80),
            "other private": connect(slot.netns, "10.2.2.3"),
            "other public": connect(slot.netns, "93.184.216.34"),
            "another name server": datagram(slot.netns, "9.9.9.9", 53),
        }

    assert tried(world, work, "10.1.0.0/16", "1.2.3.4:443") == {
        "range": from_host("10.1.2.3"),
        "any port of it": from_host("10.1.2.3"),
        "port": from_host("1.2.3.4"),
        "udp port": from_host("1.2.3.4"),
        "other port": "refused",
        "other private": "refused",
        "other public": "refused",
        "another name server": "refused",
    }


def test_a_range_wider_than_private_ones_opens_its_public_part_only(world: World) -> None:
    found = tried(world, lambda slot: reached(slot, ["1.2.3.4", "10.1.2.3", "169.254.169.254"]), "0.0.0.0/0")
    assert found == {"1.2.3.4": from_host("1.2.3.4"), "10.1.2.3": "refused", "169.254.169.254": "refused"}


def test_the_host_is_not_reached_even_where_its_range_is_allowed(world: World) -> None:
    found = tried(
        world, lambda slot: reached(slot, [HOST_ADDRESS, HOST_PRIVATE, WORLD_GATEWAY]), "80.0.0.0/24", "10.9.0.0/16"
    )
    assert found == {
        HOST_ADDRESS: "silence",
        HOST_PRIVATE: "silence",
        WORLD_GATEWAY: from_host(WORLD_GATEWAY),
    }


def test_what_the_operator_forbids_is_not_reached(world: World) -> None:
    async def main() -> list[str]:
        async with slot_with("10.0.0.0/8", forbidden=[IPv4Network("10.1.0.0/16")]) as slot:
            return [await asyncio.to_thread(connect, slot.netns, address) for address in ("10.1.2.3", "10.2.2.3")]

    assert world.run(main) == ["refused", from_host("10.2.2.3")]


def test_sandboxes_do_not_reach_each_other(world: World) -> None:
    async def main() -> dict[str, str]:
        async with make_slots().open() as slots, slots.take("egress") as one, slots.take("egress") as other:
            with in_namespace(other.netns, listening), in_namespace(other.gate, listening):
                # Whichever numbers the two have, their links are among these.
                number = int(other.name.rpartition("-")[2])
                links = [str(LINKS[2 * number + end]) for end in (0, 1)]
                return await asyncio.to_thread(reached, one, links)

    found = world.run(main)
    assert len(found) == 2
    assert set(found.values()) <= {"refused", "silence"}


def test_nothing_comes_in_unasked(world: World) -> None:
    async def main() -> dict[str, str]:
        async with slot_with() as slot:
            gate = in_namespace(slot.gate, lambda: address_of("uplink"))
            with in_namespace(slot.netns, listening), in_namespace(slot.gate, listening):
                # The world sends what it does not know to the host, so that it could get here.
                return {
                    "from the world": await asyncio.to_thread(connect, world.world, gate),
                    "from the host": await asyncio.to_thread(connect, world.host, gate),
                }

    assert set(world.run(main).values()) <= {"refused", "silence"}


def test_a_false_sender_is_not_let_through(world: World) -> None:
    async def main() -> tuple[str, str]:
        async with slot_with() as slot:
            await asyncio.to_thread(ip, "-n", slot.netns.name, "address", "add", "1.2.3.4/32", "dev", "eth0")

            def spoofed() -> str:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                    asking.settimeout(1)
                    asking.bind(("1.2.3.4", 0))
                    asking.connect(("93.184.216.34", 80))
                    try:
                        asking.send(b"?")
                        return asking.recv(100).decode()
                    except OSError:
                        return "silence"

            honest = await asyncio.to_thread(datagram, slot.netns, "93.184.216.34")
            return honest, await asyncio.to_thread(in_namespace, slot.netns, spoofed)

    assert world.run(main) == (from_host("93.184.216.34"), "silence")


def test_there_is_no_ipv6(world: World) -> None:
    async def main() -> list[str]:
        async with slot_with() as slot:
            return [
                in_namespace(each, Path("/proc/thread-self/net/if_inet6").read_text) for each in (slot.netns, slot.gate)
            ]

    assert world.run(main) == ["", ""]


def test_bytes_are_counted_for_each_sandbox(world: World) -> None:
    async def main() -> tuple[int, int, int]:
        async with make_slots().open() as slots, slots.take("egress") as one, slots.take("egress") as other:

            def send() -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
                    sending.connect(("1.2.3.4", 80))
                    for _ in range(100):
                        sending.send(bytes(1_000))

            await asyncio.to_thread(in_namespace, one.netns, send)
            await asyncio.to_thread(connect, one.netns, "10.1.2.3")
            return one.counters().tx_bytes, one.counters().rx_bytes, other.counters().tx_bytes

    sent, received, others = world.run(main)
    assert 100_000 <= sent < 120_000
    assert 0 < received < 100_000
    assert others < 1_000


def listening() -> socket.socket:
    """A server of the calling thread's namespace."""
    return socket.create_server(("0.0.0.0", 80))


def address_of(device: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", device.encode()))
    return socket.inet_ntoa(answer[20:24])
