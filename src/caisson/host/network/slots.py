"""Slots: networks for sandboxes, made ahead, alike inside, each used once."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from pathlib import Path

import structlog

from caisson.host.network import host
from caisson.host.network.gate import (
    GATE_MAC,
    GUEST_DEVICE,
    GUEST_MAC,
    INNER,
    Gate,
    Kind,
    NetworkError,
    Plan,
    make_gate,
)
from caisson.host.network.namespace import give_tap, inside
from caisson.host.network.resolver import Resolver, Server, host_servers, resolving
from caisson.host.network.rules import GATE_ADDRESS, GUEST_ADDRESS, INSIDE, PREFIX_LENGTH, make_policy
from caisson.host.process import CommandFailed
from caisson.host.shield import Teardown, uninterrupted
from caisson.model import Network

logger = structlog.get_logger(__name__)

ALL_KINDS = frozenset({"none", "egress", "allow"})
MTU = 1_500
_COUNTERS = Path("/proc/thread-self/net/dev")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a sandbox and the world exchanged, with their Ethernet headers; what was refused is not in it."""

    rx_bytes: int = 0
    """Received by the sandbox."""
    tx_bytes: int = 0
    """Sent by the sandbox."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One sandbox's network. Everything but the names is the same in every slot."""

    name: str
    gate: Path
    """The namespace with the rules in it; nothing of a sandbox's may run there but a device's other end."""
    netns: Path
    """The namespace to start a sandbox in: its own, with `device` in it; for a TAP it is the gate."""
    tap: str | None
    """The TAP's name in `gate`, for a virtual machine monitor to attach to; with virtio's headers (IFF_VNET_HDR)."""
    host_device: str
    device: str = GUEST_DEVICE
    mac: str = GUEST_MAC
    """The sandbox's hardware address, which a virtual machine's network card must have."""
    address: IPv4Address = GUEST_ADDRESS
    prefix_length: int = PREFIX_LENGTH
    gateway: IPv4Address = GATE_ADDRESS
    gateway_mac: str = GATE_MAC
    nameserver: IPv4Address = GATE_ADDRESS
    mtu: int = MTU

    @property
    def resolv_conf(self) -> str:
        """Contents of the sandbox's /etc/resolv.conf."""
        return f"nameserver {self.nameserver}\noptions timeout:3 attempts:2\n"

    async def give_tap(self, uid: int) -> None:
        """Let a monitor that runs as this user attach to the TAP. Raises NetworkError; only for a slot with a TAP."""
        try:
            await inside(self.gate, lambda: give_tap(INSIDE, uid))
        except OSError as error:
            raise NetworkError(f"the TAP could not be given to user {uid}: {error}") from error

    def counters(self) -> Traffic:
        """Bytes so far. Cheap, and callable while the slot is held; afterwards nothing is counted any more."""
        for line in _COUNTERS.read_text().splitlines():
            device, _, figures = line.partition(":")
            if device.strip() == self.host_device:
                words = figures.split()
                # What the host's end receives is what the sandbox sends.
                return Traffic(rx_bytes=int(words[8]), tx_bytes=int(words[0]))
        return Traffic()


class Slots:
    """All slots of this node. Open it before the first `take`; one for each process."""

    def __init__(
        self,
        node_id: str,
        links: IPv4Network,
        *,
        ahead: int = 1,
        forbidden: Sequence[IPv4Network] = (),
        servers: Sequence[Server] = (),
    ) -> None:
        """`links`: each slot takes two of its addresses. `ahead`: how many of a kind wait once one was used.

        `forbidden`: never reached, whatever a workload asks for. `servers`: name servers, the host's own if empty.
        """
        self._node_id = node_id
        # A sandbox must not reach another one's link either.
        self._plan = Plan(host.slot_prefix(node_id), links, (*forbidden, links))
        self._ahead = ahead
        self._servers = tuple(servers)
        self._waiting: dict[Kind, deque[Gate]] = {kind: deque() for kind in Kind}
        self._making: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self._group: asyncio.TaskGroup | None = None
        self._left: list[str] = []
        self._laid = False
        self._to_lift = False
        """True from the first try to lay the host's rules: one that failed or was cancelled may have laid some."""
        self._lock = asyncio.Lock()
        # Each node begins elsewhere, so that two servers on one machine seldom want the same number.
        first = zlib.crc32(node_id.encode())
        self._numbers = (number % self._plan.count for number in count(first))
        self._checked: tuple[str, str] | None = None
        self._was_checked = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Slots]:
        """Hold slots until the context is left."""
        # Looked up before anything is made: what is there now is a dead process's.
        self._left = host.slots_of(self._node_id)
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                # Kept and raised again outside, where the task group does not make a group of it.
                try:
                    yield self
                except BaseException as error:
                    failure = error
                self._group = None
        finally:
            await uninterrupted(self._close())
        if failure is not None:
            raise failure

    async def reclaim(self) -> int:
        """Remove what a dead process of this node left; how many slots that were. Meanwhile new ones may be made."""
        left, self._left = self._left, []
        await host.remove_slots(left)
        async with self._lock:
            # What was laid meanwhile took the place of what was left.
            if not self._to_lift:
                await host.lift_left_rules(self._node_id)
        return sum(not name.endswith(INNER) for name in left)

    async def lacks(self) -> tuple[str, str] | None:
        """Why this host cannot give networks, and what would help; None if it can. Tries it once, and remembers."""
        async with self._lock:
            if not self._was_checked:
                self._checked, self._was_checked = await self._try(), True
            return self._checked

    @asynccontextmanager
    async def take(self, network: Network, kind: Kind = Kind.VETH) -> AsyncIterator[Slot]:
        """A slot for one sandbox that lets through what `network` says (not `none`) and nothing else.

        Left when the sandbox is dead. Raises NetworkError; only while the slots are open.
        """
        if (group := self._group) is None:
            raise NetworkError("the networks are closed")
        policy = make_policy(network)
        await self._lay_rules()
        gate = self._waiting[kind].popleft() if self._waiting[kind] else await self._make(kind)
        self._refill(kind)
        try:
            try:
                await gate.apply(policy)
            except CommandFailed as error:
                raise NetworkError("the network's rules could not be set", detail=error.detail) from error
            servers = self._servers or host_servers()
            resolver = Resolver(policy, servers, gate.open, group)
            async with resolving(resolver, gate.udp, gate.tcp):
                tap = INSIDE if kind is Kind.TAP else None
                yield Slot(gate.name, gate.path, gate.inner or gate.path, tap, gate.host_device)
        finally:
            await gate.teardown.close()

    def waiting(self) -> int:
        """How many slots are ready to be taken."""
        return sum(map(len, self._waiting.values()))

    async def _lay_rules(self) -> None:
        async with self._lock:
            if not self._laid:
                self._to_lift = True
                await host.lay_rules(self._node_id, self._plan.links)
                self._laid = True

    async def _make(self, kind: Kind) -> Gate:
        return await make_gate(self._plan, self._numbers, kind)

    def _refill(self, kind: Kind) -> None:
        lacking = self._ahead - len(self._waiting[kind]) - self._making[kind]
        if self._group is not None and lacking > 0:
            self._making[kind] += lacking
            for _ in range(lacking):
                self._group.create_task(self._make_ahead(kind))

    async def _make_ahead(self, kind: Kind) -> None:
        async def make_and_keep() -> None:
            self._waiting[kind].append(await self._make(kind))

        try:
            # To its end in any case: one that is made must not be forgotten.
            await uninterrupted(make_and_keep())
        except Exception as error:
            # Whoever needs one next is told; the server goes on, whatever it was.
            logger.error("no network was made ahead", error=getattr(error, "detail", repr(error)))
        finally:
            self._making[kind] -= 1

    async def _close(self) -> None:
        teardown = Teardown()
        if self._to_lift:
            teardown.push(partial(host.lift_rules, self._node_id))
            self._laid = self._to_lift = False
        for waiting in self._waiting.values():
            while waiting:
                teardown.push(waiting.popleft().teardown.close)
        await teardown.close()

    async def _try(self) -> tuple[str, str] | None:
        if lacks := host.lacking():
            return lacks
        try:
            gate = await self._make(Kind.VETH)
        except NetworkError as error:
            return error.message, "see what stops it: ip netns add x && ip netns exec x nft 'add table inet x'"
        await gate.teardown.close()
        return None
