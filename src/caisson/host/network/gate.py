"""A gate: the namespace between one sandbox and the host, with a device to each, and the sandbox's own namespace.

    sandbox (…-in)            gate                          host
    eth0 192.0.0.2  ── veth ── inside 192.0.0.1 │ uplink ── veth ── caisson7 ── forwarding ── world
    (a virtual machine) ─ TAP ─┘

The rules stand in the gate, where nothing that runs in the sandbox can get: a sandbox that sends raw packets, as
gVisor's network stack does, passes no rule of its own namespace.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

from caisson.errors import CaissonError
from caisson.host.network import rules
from caisson.host.network.namespace import FOLDER, inside, listening_sockets, make_tap, set_kernel
from caisson.host.process import CommandFailed, run
from caisson.host.shield import Teardown, uninterrupted

GUEST_DEVICE = "eth0"
GUEST_MAC = "02:ca:15:00:00:02"
GATE_MAC = "02:ca:15:00:00:01"
"""The same in every slot: what was learnt before a snapshot holds after it is resumed elsewhere."""
DNS_PORT = 53
INNER = "-in"
"""Ends the name of a sandbox's own namespace, which else is its gate's."""
_ATTEMPTS = 64
_TAKEN = "File exists"
_NO_DEVICE = "Cannot find device"
"""What ip(8) says."""


class NetworkError(CaissonError):
    """A slot could not be made, or not be removed."""


class Kind(StrEnum):
    """How a sandbox is attached: by a namespace with a device in it, or by a TAP."""

    VETH = "veth"
    TAP = "tap"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node's gates have in common."""

    prefix: str
    """Begins the names of its namespaces; a number follows."""
    links: IPv4Network
    """Each gate takes two of these addresses."""
    forbidden: tuple[IPv4Network, ...] = ()
    """Never reached through any of them."""

    @property
    def count(self) -> int:
        """How many gates there can be."""
        return self.links.num_addresses // 2

    def link(self, number: int) -> tuple[IPv4Address, IPv4Address]:
        """The host's and the gate's address on the link between them."""
        return self.links[2 * number], self.links[2 * number + 1]


@dataclass(slots=True)
class Gate:
    """What was made, and how it is taken away again."""

    name: str
    path: Path
    inner: Path | None
    host_device: str
    udp: socket.socket
    tcp: socket.socket
    """The name service's, listening at the gate's inner address."""
    plan: Plan
    teardown: Teardown

    async def apply(self, policy: rules.Policy) -> None:
        """Let through what the policy says from now on, at one stroke."""
        await self.nft(f"delete table inet {rules.TABLE}; {rules.gate_rules(policy, self.plan.forbidden)}")

    async def open(self, addresses: list[IPv4Address], ports: frozenset[int] | None, timeout_s: int) -> None:
        """Let these resolved addresses be reached for a time."""
        await self.nft(rules.open_resolved(addresses, ports, timeout_s))

    async def nft(self, commands: str) -> None:
        """Carry out nftables commands in the gate."""
        await run(["ip", "netns", "exec", self.name, "nft", commands])


async def make_gate(plan: Plan, numbers: Iterator[int], kind: Kind) -> Gate:
    """Make a gate that lets nothing through yet. Raises NetworkError.

    `numbers` are those to try; the same may be tried for several gates at once.
    """
    teardown = Teardown()
    try:
        return await _make(plan, numbers, kind, teardown)
    except BaseException as error:
        await teardown.close()
        if isinstance(error, OSError | CommandFailed):
            raise NetworkError(f"no network could be made: {error}") from error
        raise


async def _make(plan: Plan, numbers: Iterator[int], kind: Kind, teardown: Teardown) -> Gate:
    number, name = await _claim(plan, numbers, teardown)
    host_device, path = f"{rules.HOST_PREFIX}{number}", FOLDER / name
    host_address, gate_address = plan.link(number)
    inner = FOLDER / f"{name}{INNER}" if kind is Kind.VETH else None
    await inside(path, _settle)
    if inner is not None:
        await _add_namespace(inner.name, teardown)
        await inside(inner, _settle)
        device = (
            f"link add {rules.INSIDE} address {GATE_MAC} type veth"
            f" peer name {GUEST_DEVICE} address {GUEST_MAC} netns {inner.name}"
        )
    else:
        await inside(path, lambda: make_tap(rules.INSIDE))
        device = f"link set {rules.INSIDE} address {GATE_MAC}"
    await run(["ip", "netns", "exec", name, "nft", rules.gate_rules(rules.Policy(), plan.forbidden)])
    await _batch(
        name,
        device,
        f"address add {rules.GATE_ADDRESS}/{rules.PREFIX_LENGTH} dev {rules.INSIDE}",
        f"address add {gate_address}/31 dev {rules.UPLINK}",
        f"link set {rules.INSIDE} up",
        f"link set {rules.UPLINK} up",
        f"route add default via {host_address}",
    )
    if inner is not None:
        await _batch(
            inner.name,
            "link set lo up",
            f"address add {rules.GUEST_ADDRESS}/{rules.PREFIX_LENGTH} dev {GUEST_DEVICE}",
            f"link set {GUEST_DEVICE} up",
            f"route add default via {rules.GATE_ADDRESS}",
        )

    def listen() -> tuple[socket.socket, socket.socket]:
        udp, tcp = listening_sockets(str(rules.GATE_ADDRESS), DNS_PORT)
        # Here, where a cancellation cannot come between.
        teardown.push(udp.close)
        teardown.push(tcp.close)
        return udp, tcp

    udp, tcp = await inside(path, listen)
    return Gate(name, path, inner, host_device, udp, tcp, plan, teardown)


def _settle() -> None:
    """What a fresh namespace is told before it has any device but its loopback."""
    for family in ("all", "default"):
        set_kernel(f"net.ipv6.conf.{family}.disable_ipv6", 1)
    set_kernel("net.ipv4.ip_forward", 1)


async def _claim(plan: Plan, numbers: Iterator[int], teardown: Teardown) -> tuple[int, str]:
    """Take a number no other slot on this host has: the kernel gives a device's name once."""
    for attempt, number in enumerate(islice(numbers, plan.count)):
        device, name = f"{rules.HOST_PREFIX}{number}", f"{plan.prefix}{number}"
        # A name without a device is a gate of this node that is just being taken away, or was left by a dead process.
        if _exists(device) or (FOLDER / name).exists() or (FOLDER / f"{name}{INNER}").exists():
            continue
        host_address, _ = plan.link(number)
        commands = (
            f"link add {device} type veth peer name {rules.UPLINK} netns {name}",
            f"address add {host_address}/31 dev {device}",
            f"link set {device} addrgenmode none up",
        )
        try:
            await _add_namespace(name, teardown)
            teardown.push(partial(_cut_off, name))
            await _batch(None, *commands)
        except CommandFailed as error:
            await teardown.close()
            # Another gate or server was quicker; any other failure comes back, and is not to be tried for ever.
            if attempt >= _ATTEMPTS or _TAKEN not in error.detail:
                raise
            continue
        return number, name
    raise NetworkError(f"all {plan.count} links in CAISSON_NETWORK_LINKS are in use")


async def _add_namespace(name: str, teardown: Teardown) -> None:
    async def add() -> None:
        try:
            await run(["ip", "netns", "add", name])
        except CommandFailed as error:
            # Somebody else's is not ours to remove.
            if _TAKEN not in error.detail:
                teardown.push(partial(remove_namespace, name))
            raise
        teardown.push(partial(remove_namespace, name))

    await uninterrupted(add())


async def remove_namespace(name: str) -> None:
    """Take a namespace's name away; it goes when the last process in it does. Idempotent."""
    if (FOLDER / name).exists():
        await run(["ip", "netns", "delete", name])


async def _cut_off(name: str) -> None:
    """Remove the link between a gate and the host; returns when both its ends are gone. Idempotent.

    By the gate's end: a device of the host that bears this gate's number may have been made by another server.
    """
    if (FOLDER / name).exists():
        done = await run(["ip", "-netns", name, "link", "delete", rules.UPLINK], check=False)
        if done.code and _NO_DEVICE not in (text := done.stderr.decode("utf-8", "replace")):
            raise NetworkError(f"the link of {name} could not be removed", detail=text)


def _exists(device: str) -> bool:
    with suppress(OSError):
        return socket.if_nametoindex(device) > 0
    return False


async def _batch(namespace: str | None, *commands: str) -> None:
    """Carry out ip(8) commands in one process, in a namespace or in this thread's; raises CommandFailed."""
    where = ["-netns", namespace] if namespace else []
    await run(["ip", *where, "-batch", "-"], input=("\n".join(commands) + "\n").encode())
