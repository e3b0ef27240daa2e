"""A host and a world of its own, as network namespaces: addresses of the Internet that lead nowhere else."""

from __future__ import annotations

import asyncio
import ctypes
import os
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

FOLDER = Path("/run/netns")
HOST_ADDRESS = "80.0.0.2"
"""The host's own, as public as any."""
HOST_PRIVATE = "10.9.0.1"
WORLD_GATEWAY = "80.0.0.1"
NAME_SERVER = "9.9.9.9"
WORLD_ADDRESSES = (
    *("93.184.216.34", "93.184.216.35", "1.2.3.4", NAME_SERVER),
    *("10.1.2.3", "10.2.2.3", "172.16.5.5", "192.168.7.7", "100.64.1.1", "198.51.100.7", "192.0.2.9"),
    *("169.254.169.254", "168.63.129.16", "100.100.100.200", "240.1.1.1"),
)
"""Every one of them answers on every port in `PORTS`, to whoever gets through."""
PORTS = (80, 443, 8080)
PATIENCE_S = 5.0
ANSWER_S = 10.0
"""Patience with what answers, or is refused; only a busy machine needs it."""
SILENCE_S = 1.5
"""Patience with what may as well say nothing."""
AGAIN_S = 0.5
"""After that a datagram is repeated: one may be lost, and of refusals the kernel tells only so many a second."""
_libc = ctypes.CDLL(None, use_errno=True)


def need_namespaces() -> None:
    """Skip the test where no network namespaces can be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def in_namespace(name: str | Path, work: Callable[[], T]) -> T:
    """Call `work` in a thread that is in the namespace; programs started there are in it too."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            with (FOLDER / name).open("rb") as file:
                if _libc.setns(file.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot enter {name}")
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def run_in_namespace(name: str, work: Callable[[], Awaitable[T]]) -> T:
    """As `in_namespace`, for a coroutine in an event loop of its own."""

    async def main() -> T:
        return await work()

    return in_namespace(name, lambda: asyncio.run(main()))


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def namespaces() -> set[str]:
    """Names of all there are."""
    return {path.name for path in FOLDER.iterdir()} if FOLDER.is_dir() else set()


def patience_s(address: str) -> float:
    """Who is in the world answers, or the way there is refused: none of them is silent, whatever is expected."""
    return ANSWER_S if address in (*WORLD_ADDRESSES, WORLD_GATEWAY) else SILENCE_S


def connect(namespace: str | Path, address: str, port: int = 80) -> str:
    """What comes of connecting from a namespace: the server's answer, `refused`, or `silence`."""

    def work() -> str:
        try:
            with socket.create_connection((address, port), timeout=patience_s(address)) as connection:
                return connection.recv(100).decode()
        except TimeoutError:
            return "silence"
        except OSError:
            return "refused"

    return in_namespace(namespace, work)


def reach_program(timeout_s: float) -> str:
    """A function in Python: what each place in its input (`host` or `host:port`) says, or `not reached`."""
    return f"""
import socket

def reach(place):
    host, _, port = place.partition(":")
    try:
        with socket.create_connection((host, int(port or 80)), timeout={timeout_s}) as connection:
            return connection.recv(100).decode()
    except OSError as error:
        return "not reached"

def handler(places):
    return {{place: reach(place) for place in places}}
"""


def datagram(namespace: str | Path, address: str, port: int = 80) -> str:
    """As `connect`, with datagrams."""

    def work() -> str:
        until = time.monotonic() + patience_s(address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(AGAIN_S)
            try:
                asking.connect((address, port))
                while time.monotonic() < until:
                    asking.send(b"?")
                    with suppress(TimeoutError):
                        return asking.recv(100).decode()
            except OSError:
                return "refused"
        return "silence"

    return in_namespace(namespace, work)


@dataclass
class Zone:
    """What the world's name server says, and what it was asked. Names map to addresses, or to a name they stand for."""

    records: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ttl_s: int = 60
    asked: list[str] = field(default_factory=list)
    silent: bool = False
    truncates: bool = False

    def clear(self) -> None:
        """As it was in the beginning."""
        self.records, self.ttl_s, self.silent, self.truncates = {}, 60, False, False
        self.asked.clear()


@dataclass(frozen=True)
class World:
    """The namespaces' names, and the zone of the name server."""

    host: str
    world: str
    zone: Zone

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the host."""
        return run_in_namespace(self.host, work)


@contextmanager
def small_world(label: str) -> Iterator[World]:
    """A host with one address and a default route into a world in which everything answers with its own address."""
    host, world = f"t-host-{label}", f"t-world-{label}"
    zone = Zone()
    stop = threading.Event()
    servers: list[threading.Thread] = []
    try:
        for name in (host, world):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", host, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", world)
        for name, address in ((host, HOST_ADDRESS), (world, WORLD_GATEWAY)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wan")
            ip("-n", name, "link", "set", "wan", "up")
        ip("-n", host, "address", "add", f"{HOST_PRIVATE}/32", "dev", "lo")
        ip("-n", host, "route", "add", "default", "via", WORLD_GATEWAY)
        # Not on the loopback, which the kernel keeps some of these addresses away from.
        ip("-n", world, "link", "add", "many", "type", "veth", "peer", "name", "end")
        ip("-n", world, "link", "set", "many", "up")
        for address in WORLD_ADDRESSES:
            ip("-n", world, "address", "add", f"{address}/32", "dev", "many")
        # A network in which the sandbox's addresses mean something would answer to spoofed ones as well.
        ip("-n", world, "route", "add", "default", "via", HOST_ADDRESS)
        for name in (host, world):
            ready = threading.Event()
            servers.append(threading.Thread(target=in_namespace, args=(name, lambda r=ready: _serve(stop, r, zone))))
            servers[-1].start()
            assert ready.wait(PATIENCE_S)
        yield World(host, world, zone)
    finally:
        stop.set()
        for server in servers:
            server.join()
        for name in (host, world):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _serve(stop: threading.Event, ready: threading.Event, zone: Zone) -> None:
    """Answer every connection and datagram with the address it came to, and questions from the zone."""
    selector = selectors.DefaultSelector()
    for port in (*PORTS, 53):
        tcp = socket.create_server(("0.0.0.0", port), backlog=64)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        udp.bind(("0.0.0.0", port))
        for each in (tcp, udp):
            selector.register(each, selectors.EVENT_READ, port)
    ready.set()
    while not stop.is_set():
        for key, _ in selector.select(timeout=0.05):
            server, port = key.fileobj, key.data
            assert isinstance(server, socket.socket)
            if server.type == socket.SOCK_STREAM:
                _answer_connection(server, port, zone)
            else:
                _answer_datagram(server, port, zone)
    for key in list(selector.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    selector.close()


def _answer_connection(server: socket.socket, port: int, zone: Zone) -> None:
    connection, peer = server.accept()
    with connection:
        connection.settimeout(PATIENCE_S)
        try:
            if port == 53:
                (length,) = struct.unpack("!H", connection.recv(2))
                answer = _name_answer(connection.recv(length), zone, tcp=True)
                connection.sendall(struct.pack("!H", len(answer)) + answer)
            else:
                connection.sendall(f"{connection.getsockname()[0]} {peer[0]}".encode())
        except OSError:
            pass


def _answer_datagram(server: socket.socket, port: int, zone: Zone) -> None:
    data, ancillary, _, peer = server.recvmsg(2_000, 100)
    # To answer from the address that was asked, else the client takes it for somebody else's.
    info = next(value for level, kind, value in ancillary if (level, kind) == (socket.IPPROTO_IP, 8))
    reply = [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 0, info[8:12], bytes(4)))]
    if port != 53:
        server.sendmsg([f"{socket.inet_ntoa(info[8:12])} {peer[0]}".encode()], reply, 0, peer)
    elif not zone.silent:
        server.sendmsg([_name_answer(data, zone, tcp=False)], reply, 0, peer)


def _name_answer(query: bytes, zone: Zone, *, tcp: bool) -> bytes:
    name, kind, end = _question(query)
    zone.asked.append(name)
    question = query[12:end]
    if zone.truncates and not tcp:
        return query[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + question
    records, count, owner = b"", 0, name
    known = owner in zone.records
    while kind == 1 and owner in zone.records:
        values = zone.records[owner]
        if values and not values[0][0].isdigit():
            data = encode_name(values[0])
            records += encode_name(owner) + struct.pack("!HHIH", 5, 1, zone.ttl_s, len(data)) + data
            count, owner = count + 1, values[0]
            continue
        for value in values:
            records += encode_name(owner) + struct.pack("!HHIH4s", 1, 1, zone.ttl_s, 4, socket.inet_aton(value))
            count += 1
        break
    if kind == 16 and known:
        records, count = b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, zone.ttl_s, 3) + b"\x02hi", 1
    return query[:2] + struct.pack("!HHHHH", 0x8180 | (0 if known else 3), 1, count, 0, 0) + question + records


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _question(query: bytes) -> tuple[str, int, int]:
    labels, offset = [], 12
    while size := query[offset]:
        labels.append(query[offset + 1 : offset + 1 + size].decode("latin-1"))
        offset += size + 1
    (kind,) = struct.unpack_from("!H", query, offset + 1)
    return ".".join(labels).lower(), kind, offset + 5


@dataclass(frozen=True)
class Looked:
    """What a sandbox was told of a name."""

    code: int
    addresses: tuple[str, ...] = ()
    ttl_s: int = 0


def look_up(
    namespace: str | Path, name: str, kind: int = 1, server: str = "192.0.0.1", *, tcp: bool = False
) -> Looked | None:
    """Ask the name server of a sandbox as glibc does, twice for five seconds, since a datagram may be lost.

    None if it says nothing.
    """
    question = encode_name(name) + struct.pack("!HH", kind, 1)
    query = struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question

    def work() -> bytes | None:
        form = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, form) as asking:
            asking.settimeout(5)
            try:
                asking.connect((server, 53))
                asking.sendall(struct.pack("!H", len(query)) + query if tcp else query)
                return asking.recv(65_535)[2 if tcp else 0 :]
            except OSError:
                return None

    answer = in_namespace(namespace, work) or in_namespace(namespace, work)
    if answer is None:
        return None
    assert answer[:2] == query[:2]
    _, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", answer)
    offset, addresses, ttl_s = 12 + len(question), [], 0
    assert answer[12:offset] in (question, b"")
    for _ in range(count):
        offset += 2
        _, _, ttl_s, length = struct.unpack_from("!HHIH", answer, offset)
        offset += 10
        addresses.append(socket.inet_ntoa(answer[offset : offset + 4]) if length == 4 else answer[offset:].decode())
        offset += length
    return Looked(flags & 0xF, tuple(addresses), ttl_s)


def eventually(holds: Callable[[], bool]) -> bool:
    """True as soon as `holds`, False if it does not within some seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def devices(namespace: str) -> Mapping[int, str]:
    """Network devices of a namespace, by number."""
    return in_namespace(namespace, lambda: dict(socket.if_nameindex()))


def rule_set(namespace: str) -> str:
    """All the nftables rules of a namespace."""
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "list", "ruleset"], check=True, capture_output=True, text=True
    )
    return done.stdout
