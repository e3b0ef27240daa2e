"""The host's share of the networks: its own rules, whether it forwards, and what a dead server left of both."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from time import monotonic

from caisson.host.network.gate import INNER, NetworkError
from caisson.host.network.namespace import FOLDER
from caisson.host.network.rules import HOST_PREFIX, host_rules, host_table
from caisson.host.process import CommandFailed, run

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_TABLE = re.compile(r"^table inet (caisson_[0-9a-f]{12})$", re.MULTILINE)
_LINK = re.compile(rf"^[0-9]+: ({HOST_PREFIX}[0-9]+)@.*\n.* link-netns (\S+)", re.MULTILINE)
_GUARD = "chain guard {"
_TURN = "\0caisson-network-rules"
"""An abstract name: there is one in each network namespace, as there are rules, and it goes with who holds it."""
_TURN_S = 30.0
_LOOK_EVERY_S = 0.02
_LISTING_BYTES = 16 << 20
_REMOVAL_S = 60.0


async def lay_rules(node_id: str, links: IPv4Network) -> None:
    """Have the host forward for slots, and guard itself. Raises NetworkError. Idempotent."""
    try:
        async with _alone():
            await _lay(node_id, links)
    except (OSError, CommandFailed) as error:
        raise NetworkError(f"the host's own rules could not be set: {error}") from error


async def _lay(node_id: str, links: IPv4Network) -> None:
    # Off before the first slot of any node on this host, and off again after the last.
    guard = not _forwards() or _GUARD in "".join([await _rules_of(table) for table in await _tables()])
    table = f"table inet {host_table(node_id)}"
    await run(["nft", f"add {table}; delete {table}; {host_rules(node_id, links, guard=guard)}"])
    if not _forwards():
        _forward("1")


async def lift_rules(node_id: str) -> None:
    """Undo `lay_rules`, also of a process that is dead. Raises NetworkError. Idempotent."""
    try:
        async with _alone():
            await _lift(host_table(node_id))
    except (OSError, CommandFailed) as error:
        raise NetworkError(f"the host's own rules could not be removed: {error}") from error


async def _lift(own: str) -> None:
    tables = await _tables()
    if own in tables:
        if tables == {own} and _GUARD in await _rules_of(own):
            _forward("0")
        await run(["nft", f"delete table inet {own}"])


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Be the only server on this host that looks at the others' rules and acts on what it saw. Raises NetworkError."""
    give_up_at = monotonic() + _TURN_S
    with socket.socket(socket.AF_UNIX) as turn:
        while True:
            try:
                turn.bind(_TURN)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if monotonic() > give_up_at:
                    raise NetworkError(f"another server is busy with this host's rules for {_TURN_S:g} s") from error
            await asyncio.sleep(_LOOK_EVERY_S)
        yield


async def remove_slots(names: Collection[str]) -> None:
    """Remove namespaces of slots that nobody holds any more, and their devices. Raises CommandFailed."""
    if not names:
        return
    links = (await run(["ip", "link", "show", "type", "veth"], max_output_bytes=_LISTING_BYTES)).stdout.decode()
    # By what each is connected to: another node's slot may have come to have the same number.
    devices = [device for device, namespace in _LINK.findall(links) if namespace in names]
    group = secrets.randbelow(1 << 30) + (1 << 30)
    # The devices first: that cuts the slots off at once, whoever is still in them. All at one stroke: the kernel waits
    # as long for one as for all.
    commands = [f"link set dev {device} group {group}" for device in devices]
    commands += [f"link delete group {group}"] * bool(devices)
    commands += [f"netns delete {name}" for name in names]
    await run(["ip", "-force", "-batch", "-"], input=("\n".join(commands) + "\n").encode(), timeout_s=_REMOVAL_S)


async def lift_left_rules(node_id: str) -> None:
    """`lift_rules`, where a process of this node can have laid any. Raises NetworkError."""
    if os.geteuid() == 0 and has_programs():
        await lift_rules(node_id)


def has_programs() -> bool:
    """Are nft and ip installed?"""
    return shutil.which("nft") is not None and shutil.which("ip") is not None


def lacking() -> tuple[str, str] | None:
    """Why this process cannot give networks, as far as can be told without trying, and what would help."""
    if os.geteuid() != 0:
        return "networks need a server that runs as root", "run the server as root"
    if not has_programs():
        return "nft or ip is not installed", "apt-get install nftables iproute2"
    if not _forwards() and not os.access(FORWARDING, os.W_OK):
        return "the host forwards nothing, and this process may not change that", "sysctl -w net.ipv4.ip_forward=1"
    return None


async def foreign_drops() -> list[str]:
    """Other firewalls' chains that drop what is forwarded unless told otherwise: no rule of ours goes around those."""
    listed = json.loads((await run(["nft", "-j", "list", "chains"])).stdout)
    chains = [each["chain"] for each in listed["nftables"] if "chain" in each]
    return sorted(
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop"
    )


def slot_prefix(node_id: str) -> str:
    """What the names of a node's namespaces begin with; a number follows."""
    return f"caisson-{node_id}-"


def slots_of(node_id: str) -> list[str]:
    """The namespaces that a node's slots have now."""
    pattern = re.compile(rf"{re.escape(slot_prefix(node_id))}[0-9]+({INNER})?")
    names = [path.name for path in FOLDER.iterdir()] if FOLDER.is_dir() else []
    return sorted(name for name in names if pattern.fullmatch(name))


def _forwards() -> bool:
    return FORWARDING.read_text().strip() == "1"


def _forward(value: str) -> None:
    FORWARDING.write_text(value)


async def _tables() -> set[str]:
    listed = await run(["nft", "list", "tables", "inet"])
    return set(_TABLE.findall(listed.stdout.decode()))


async def _rules_of(table: str) -> str:
    return (await run(["nft", "list", "table", "inet", table])).stdout.decode()
