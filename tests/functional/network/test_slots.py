"""Slots from their making to their end: ahead of time, side by side, after a crash, and without a trace."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from caisson.host.network import gate, host
from caisson.host.network.gate import Gate, Kind, NetworkError, Plan
from caisson.host.network.namespace import listening_sockets
from caisson.host.network.rules import host_table
from caisson.host.network.slots import Slot, Slots
from tests.functional.network.conftest import FORWARDING, LINKS, make_slots, slot_with, traces
from tests.helpers.netns import (
    AGAIN_S,
    ANSWER_S,
    HOST_ADDRESS,
    SILENCE_S,
    World,
    connect,
    devices,
    eventually,
    in_namespace,
    ip,
    namespaces,
    rule_set,
)

TUNSETIFF = 0x400454CA
TAP_WITH_HEADERS = 0x5002
NOBODY = 65_534
PATIENCE_S = 5
TAP_SILENCE_S = 2
"""As `SILENCE_S`, longer because the kernel may first have to see that somebody is attached."""


def test_all_that_was_made_goes_with_it(world: World) -> None:
    async def main() -> None:
        async with make_slots(ahead=2).open() as slots:
            assert traces(world) == (set(), False, False), "nothing is made before somebody needs it"
            async with slots.take("egress") as slot, slots.take("egress", Kind.TAP):
                names, rules, forwarding = traces(world)
                assert slot.host_device in names
                assert (rules, forwarding) == (True, True)
            assert slot.host_device not in devices(world.host).values()

    world.run(main)
    assert traces(world) == (set(), False, False)


def test_a_slot_made_ahead_is_taken_and_replaced(world: World) -> None:
    async def main() -> None:
        async with make_slots(ahead=1).open() as slots:
            for _ in range(2):
                async with slots.take("egress") as slot:
                    ready = await asyncio.to_thread(eventually, lambda: slots.waiting() == 1)
                    assert ready, "another one is made while this one is used"
                    (ahead,) = own_gates() - {slot.name}
                async with slots.take("egress") as slot:
                    assert slot.name == ahead
                    assert await asyncio.to_thread(connect, slot.netns, "1.2.3.4") == f"1.2.3.4 {HOST_ADDRESS}"

    world.run(main)


def own_gates() -> set[str]:
    return {name for name in namespaces() if name.startswith(f"caisson-test-{os.getpid()}-") and name[-3:] != "-in"}


def test_rules_that_were_laid_when_the_server_was_stopped_are_lifted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay = host.lay_rules

    async def lay_and_be_cancelled(node_id: str, links: IPv4Network) -> None:
        await lay(node_id, links)
        raise asyncio.CancelledError

    async def main() -> None:
        monkeypatch.setattr(host, "lay_rules", lay_and_be_cancelled)
        async with make_slots().open() as slots:
            with pytest.raises(asyncio.CancelledError):
                await slots.take("egress").__aenter__()
            assert traces(world) == (set(), True, True)

    world.run(main)
    assert traces(world) == (set(), False, False)


def test_a_network_made_ahead_that_fails_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with make_slots(ahead=1).open() as slots:
            make = gate.make_gate

            async def make_one_and_no_more(plan: Plan, numbers: Iterator[int], kind: Kind) -> Gate:
                monkeypatch.setattr("caisson.host.network.slots.make_gate", fail)
                return await make(plan, numbers, kind)

            async def fail(*_: object) -> Gate:
                failed.set()
                raise RuntimeError("can't start new thread")

            failed = asyncio.Event()
            monkeypatch.setattr("caisson.host.network.slots.make_gate", make_one_and_no_more)
            async with slots.take("egress") as slot:
                await failed.wait()
                assert await asyncio.to_thread(connect, slot.netns, "1.2.3.4") == f"1.2.3.4 {HOST_ADDRESS}"

    world.run(main)


def begin_and_kill(command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == "ready\n"
        dying.kill()


def test_the_next_start_removes_what_a_dead_process_left_and_nothing_else(world: World) -> None:
    node_id = f"dead-{os.getpid()}"
    program = f"""
import asyncio
from ipaddress import IPv4Network
from caisson.host.network.gate import Kind
from caisson.host.network.slots import Slots

async def main():
    async with Slots({node_id!r}, IPv4Network({str(LINKS)!r}), ahead=1).open() as slots:
        async with slots.take("egress"), slots.take("egress", Kind.TAP):
            print("ready", flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""
    command = ["ip", "netns", "exec", world.host, sys.executable, "-c", program]

    async def main() -> None:
        async with make_slots("alive").open() as alive, alive.take("egress") as mine:
            await asyncio.to_thread(begin_and_kill, command)
            left = {name for name in namespaces() if node_id in name}
            assert len(left) >= 3
            assert host_table(node_id) in rule_set(world.host)
            async with make_slots("dead").open() as next_start:
                assert await next_start.reclaim() >= 2
                assert {name for name in namespaces() if node_id in name} == set()
                assert host_table(node_id) not in rule_set(world.host)
                # The kernel takes a namespace apart, with its devices, when it comes to it: also those of tests before.
                async with asyncio.timeout(PATIENCE_S):
                    while traces(world)[0] != {mine.host_device}:  # noqa: ASYNC110 - nobody tells when it did
                        await asyncio.sleep(0.02)
                _, _, forwarding = traces(world)
                assert forwarding, "another node still needs it"
            assert await asyncio.to_thread(connect, mine.netns, "1.2.3.4") == f"1.2.3.4 {HOST_ADDRESS}"

    world.run(main)
    assert traces(world) == (set(), False, False), "the last node turns off what the first turned on"


@pytest.fixture
def lan(world: World) -> Iterator[str]:
    """A machine behind the host, which the world reaches if the host forwards for anybody."""
    name, address = f"t-lan-{os.getpid()}", "172.30.0.2"
    ip("netns", "add", name)
    try:
        ip("-n", world.host, "link", "add", "lan", "type", "veth", "peer", "name", "wan", "netns", name)
        for namespace, device, own in ((world.host, "lan", "172.30.0.1"), (name, "wan", address)):
            ip("-n", namespace, "address", "add", f"{own}/24", "dev", device)
            ip("-n", namespace, "link", "set", device, "up")
        ip("-n", name, "route", "add", "default", "via", "172.30.0.1")
        with in_namespace(name, lambda: socket.create_server((address, 80))):
            yield address
        # With its namespace it would go too, but when the kernel comes to it, maybe in the middle of the next test.
        ip("-n", world.host, "link", "delete", "lan")
    finally:
        ip("netns", "delete", name)


def arrives(world: World, address: str, timeout_s: float) -> bool:
    def work() -> bool:
        try:
            with socket.create_connection((address, 80), timeout=timeout_s):
                return True
        except OSError:
            return False

    return in_namespace(world.world, work)


def test_a_host_that_was_no_router_becomes_none(world: World, lan: str) -> None:
    async def main() -> bool:
        async with slot_with():
            return await asyncio.to_thread(arrives, world, lan, SILENCE_S)

    assert not world.run(main)


def test_a_host_that_was_a_router_stays_one(world: World, lan: str) -> None:
    async def main() -> bool:
        async with slot_with():
            return await asyncio.to_thread(arrives, world, lan, ANSWER_S)

    in_namespace(world.host, lambda: FORWARDING.write_text("1"))
    try:
        assert world.run(main)
        assert arrives(world, lan, ANSWER_S)
    finally:
        in_namespace(world.host, lambda: FORWARDING.write_text("0"))


def test_a_virtual_machine_on_the_tap_reaches_what_it_may(world: World) -> None:
    """A machine is played by frames: one datagram out, one back, and one to a private address that is not answered."""

    tries = (
        ("1.2.3.4", "192.0.0.2", ANSWER_S),
        ("10.1.2.3", "192.0.0.2", TAP_SILENCE_S),
        ("1.2.3.4", "192.0.0.3", TAP_SILENCE_S),
    )

    async def main() -> list[bytes]:
        async with slot_with(kind=Kind.TAP) as slot:
            assert slot.tap is not None
            await slot.give_tap(NOBODY)
            fd = await asyncio.to_thread(in_namespace, slot.gate, lambda: attach(slot.tap or ""))
            try:
                return await asyncio.to_thread(lambda: [exchange(fd, slot, *each) for each in tries])
            finally:
                os.close(fd)

    answered, private, spoofed = world.run(main)
    assert answered == f"1.2.3.4 {HOST_ADDRESS}".encode()
    assert private != answered
    assert spoofed == b""


def attach(name: str) -> int:
    """As a monitor that runs as nobody does, which has no capability at all."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP_WITH_HEADERS))
    return fd


ports = itertools.count()


def exchange(fd: int, slot: Slot, address: str, source: str, timeout_s: float) -> bytes:
    """Send a datagram to port 80, twice a second, and return the payload of the first one that comes back."""
    ends = bytes.fromhex(slot.gateway_mac.replace(":", "")), bytes.fromhex(slot.mac.replace(":", ""))
    port = 5_000 + next(ports)
    datagram = struct.pack("!HHHH", port, 80, 9, 0) + b"?"
    addresses = socket.inet_aton(source) + socket.inet_aton(address)
    header = struct.pack("!BBHHHBBH8s", 0x45, 0, 29, 1, 0, 64, 17, 0, addresses)
    total = sum(struct.unpack("!10H", header))
    header = header[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + header[12:]
    begun_at = again_at = time.monotonic()
    while (now := time.monotonic()) < begun_at + timeout_s:
        # The kernel may take a second to see that somebody is attached, and drops what it has for him until then.
        if now >= again_at:
            again_at = now + AGAIN_S
            os.write(fd, bytes(10) + ends[0] + ends[1] + b"\x08\x00" + header + datagram)
        try:
            frame = os.read(fd, 2_000)[10:]
        except BlockingIOError:
            time.sleep(0.02)
            continue
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x01":
            who = frame[22:32]
            os.write(fd, bytes(10) + frame[6:12] + ends[1] + frame[12:20] + b"\x00\x02" + ends[1] + frame[38:42] + who)
        elif frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == port.to_bytes(2):
            return frame[42:]
        elif frame[12:14] == b"\x08\x00" and frame[23] == 1:
            return b"icmp"
    return b""


def test_a_failure_half_way_is_told_and_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with make_slots().open() as slots:
            monkeypatch.setattr("caisson.host.network.gate.GUEST_MAC", "no address")
            with pytest.raises(NetworkError, match="no network could be made"):
                async with slots.take("egress"):
                    pass
            monkeypatch.undo()
            async with slots.take("egress"):
                pass

    world.run(main)
    assert traces(world) == (set(), False, False)


def test_one_that_is_cancelled_while_it_is_made_leaves_nothing(world: World) -> None:
    async def main() -> None:
        async with make_slots().open() as slots:
            for delay_s in (0.005, 0.02, 0.04, 0.06):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(delay_s), slots.take("egress"):
                        await asyncio.sleep(60)

    world.run(main)
    assert traces(world) == (set(), False, False)


def test_sockets_that_nobody_waits_for_any_more_are_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, cancelled = threading.Event(), threading.Event()
    made: list[socket.socket] = []

    def make_slowly(address: str, port: int) -> tuple[socket.socket, socket.socket]:
        begun.set()
        assert cancelled.wait(PATIENCE_S)
        made.extend(listening_sockets(address, port))
        return made[0], made[1]

    async def take(slots: Slots) -> None:
        async with slots.take("egress"):
            pass

    async def main() -> None:
        async with make_slots().open() as slots:
            taking = asyncio.create_task(take(slots))
            assert await asyncio.to_thread(begun.wait, PATIENCE_S)
            taking.cancel()
            cancelled.set()
            with pytest.raises(asyncio.CancelledError):
                await taking

    monkeypatch.setattr("caisson.host.network.gate.listening_sockets", make_slowly)
    world.run(main)
    assert [each.fileno() for each in made] == [-1, -1]


def test_a_host_that_lacks_something_says_what(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lacks() -> tuple[str, str] | None:
        async with make_slots().open() as slots:
            return await slots.lacks()

    assert world.run(lacks) is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert world.run(lacks) == ("nft or ip is not installed", "apt-get install nftables iproute2")
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert world.run(lacks) == ("networks need a server that runs as root", "run the server as root")


def test_another_firewall_that_drops_is_found(world: World) -> None:
    table = "add table ip other; add chain ip other FORWARD { type filter hook forward priority 0; policy drop; }"
    subprocess.run(["ip", "netns", "exec", world.host, "nft", table], check=True)
    try:
        assert world.run(host.foreign_drops) == ["ip other FORWARD"]
    finally:
        subprocess.run(["ip", "netns", "exec", world.host, "nft", "delete table ip other"], check=True)


def test_an_error_of_whoever_uses_a_slot_comes_out_as_it_is(world: World) -> None:
    async def main() -> None:
        async with slot_with():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.run(main)
