"""The name service of one slot: answers what the policy lets it, and opens what it answered, before it answers."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, cast

import structlog

from caisson.destinations import is_private
from caisson.errors import CaissonError
from caisson.host.network import dns
from caisson.host.network.rules import Policy
from caisson.host.shield import acquired, uninterrupted

logger = structlog.get_logger(__name__)

MAX_QUERIES = 64
"""Questions of one sandbox that are being answered at once; more are dropped, and asked again."""
MAX_CONNECTIONS = 16
MAX_NAMES = 1_024
MAX_ADDRESSES = 32
"""Of one name that are told and opened."""
UPSTREAM_TIMEOUT_S = 2.5
ATTEMPTS = 3
IDLE_S = 10.0
MIN_OPEN_S = 60
MAX_OPEN_S = 3_600
"""For how long an address stays open after its name was resolved, if the program does not ask again."""
MAX_TTL_S = 300
_RESOLV_CONF = Path("/etc/resolv.conf")

Open = Callable[[list[IPv4Address], frozenset[int] | None, int], Awaitable[None]]
Server = tuple[str, int]


def host_servers(resolv_conf: Path = _RESOLV_CONF) -> tuple[Server, ...]:
    """The name servers this host uses itself, as resolv.conf(5) tells them."""
    servers = []
    with suppress(OSError):
        for line in resolv_conf.read_text().splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver":
                with suppress(ValueError):
                    servers.append((str(ip_address(words[1].partition("%")[0])), 53))
    return tuple(servers)


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: tuple[IPv4Address, ...]
    until: float
    ttl_s: int


class Resolver:
    """Answers the sandbox behind one gate, in tasks of `group` that end when it is closed."""

    def __init__(self, policy: Policy, servers: Sequence[Server], open_: Open, group: asyncio.TaskGroup) -> None:
        self._policy = policy
        self._servers = tuple(servers)
        self._open = open_
        self._group = group
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def answer(self, query: dns.Query, *, udp: bool) -> bytes:
        """The answer to a question of the sandbox."""
        answer = await self._answer(query)
        return dns.for_udp(query, answer) if udp else answer

    async def _answer(self, query: dns.Query) -> bytes:
        if not self._policy.world and query.name not in self._policy.names:
            return dns.write_answer(query, dns.Code.REFUSED)
        try:
            if query.kind == dns.A:
                return await self._addresses(query)
            if query.kind in (dns.AAAA, dns.ANY) or not self._policy.world:
                # The name may exist, and has nothing of this kind: programs go on with IPv4.
                return dns.write_answer(query, dns.Code.OK)
            answer = await ask(query.name, query.kind, self._servers)
        except (OSError, TimeoutError, dns.Malformed) as error:
            logger.info("a name was not resolved", kind=query.kind, error=str(error) or type(error).__name__)
            return dns.write_answer(query, dns.Code.SERVER_FAILURE)
        except CaissonError as error:
            logger.error("a resolved address was not opened", error=error.detail)
            return dns.write_answer(query, dns.Code.SERVER_FAILURE)
        return dns.as_asked(answer, query)

    async def _addresses(self, query: dns.Query) -> bytes:
        # One question at a time for each name, so that a program that asks often makes us ask once.
        async with self._one_at_a_time(query.name):
            known = self._known.get(query.name)
            now = asyncio.get_running_loop().time()
            if known is not None and now < known.until:
                return dns.write_answer(query, dns.Code.OK, known.addresses, max(1, int(known.until - now)))
            found = dns.read_addresses(await ask(query.name, dns.A, self._servers))
            if found.code not in (dns.Code.OK, dns.Code.NO_SUCH_NAME):
                return dns.write_answer(query, dns.Code.SERVER_FAILURE)
            fit = tuple(address for address in found.addresses if self._may_lead_to(address))[:MAX_ADDRESSES]
            if found.addresses and not fit:
                # Rebinding: a name of the Internet that leads into this network.
                logger.warning("a name leads only to private addresses", addresses=[*map(str, found.addresses)])
                return dns.write_answer(query, dns.Code.REFUSED)
            ttl_s = min(found.ttl_s, MAX_TTL_S)
            public = [address for address in fit if not is_private(address)]
            if public and not self._policy.world:
                # Twice as long as the program is told: it may be slow between asking and connecting.
                open_s = min(max(2 * found.ttl_s, MIN_OPEN_S), MAX_OPEN_S)
                await self._open(public, self._policy.names[query.name], open_s)
            if fit:
                if len(self._known) >= MAX_NAMES:
                    self._known.clear()
                self._known[query.name] = _Known(fit, now + max(1, ttl_s), ttl_s)
            return dns.write_answer(query, dns.Code(found.code), fit, ttl_s)

    @asynccontextmanager
    async def _one_at_a_time(self, name: str) -> AsyncIterator[None]:
        async with self._asking.setdefault(name, asyncio.Lock()):
            try:
                yield
            finally:
                self._asking.pop(name, None)

    def _may_lead_to(self, address: IPv4Address) -> bool:
        return not is_private(address) or self._policy.permits(address)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer in a task of its own, whose failure is nobody else's."""

        async def contained() -> None:
            try:
                await work
            except Exception:
                logger.exception("the name service failed")

        task = self._group.create_task(contained())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        """End all tasks, and see them end."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes over one TCP connection, one question after the other."""
        self.connections += 1
        try:
            while self.connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    message = await reader.readexactly(length)
                try:
                    answer = await self.answer(dns.read_query(message), udp=False)
                except dns.Malformed:
                    refusal = dns.refuse(message, dns.Code.FORMAT_ERROR)
                    if refusal is None:
                        break
                    answer = refusal
                writer.write(struct.pack("!H", len(answer)) + answer)
                async with asyncio.timeout(IDLE_S):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections -= 1
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        try:
            query = dns.read_query(data)
        except dns.Malformed:
            # At once: nonsense must not take the places of questions.
            self._send(dns.refuse(data, dns.Code.FORMAT_ERROR), addr)
            return
        if len(self._resolver.tasks) < MAX_QUERIES:
            self._resolver.begin(self._reply(query, addr))

    async def _reply(self, query: dns.Query, addr: tuple[str | int, int]) -> None:
        self._send(await self._resolver.answer(query, udp=True), addr)

    def _send(self, answer: bytes | None, addr: tuple[str | int, int]) -> None:
        if answer is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def resolving(resolver: Resolver, udp: socket.socket, tcp: socket.socket) -> AsyncIterator[None]:
    """Answer on these sockets, which stay the caller's, until the context is left."""
    loop = asyncio.get_running_loop()
    own = udp.dup()
    try:
        # uvloop (0.23) forgets the socket when it is cancelled in here.
        making = loop.create_datagram_endpoint(lambda: _Datagrams(resolver), sock=own)
        transport, _ = await acquired(making, lambda made: made[0].close())
    except BaseException:
        own.close()
        raise
    try:
        tcp.listen(MAX_CONNECTIONS)
        resolver.begin(_accept(resolver, tcp))
        yield
    finally:
        transport.close()
        await uninterrupted(resolver.close())


async def _accept(resolver: Resolver, tcp: socket.socket) -> None:
    # Not asyncio.start_server: its connections' tasks are nobody's.
    loop = asyncio.get_running_loop()

    async def serve(connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        await resolver.serve_connection(reader, writer)

    while True:
        try:
            connection, _ = await loop.sock_accept(tcp)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        if resolver.connections < MAX_CONNECTIONS and len(resolver.tasks) < MAX_QUERIES:
            resolver.begin(serve(connection))
        else:
            connection.close()


async def ask(name: str, kind: int, servers: Sequence[Server]) -> bytes:
    """A response of one of the servers, asked in turn. Raises OSError or TimeoutError if none answers."""
    if not servers:
        raise OSError("no name server is known")
    failure: Exception = TimeoutError("no name server answered")
    for attempt in range(ATTEMPTS):
        server = servers[attempt % len(servers)]
        try:
            async with asyncio.timeout(UPSTREAM_TIMEOUT_S):
                response = await _ask_over_udp(name, kind, server)
                if dns.is_truncated(response):
                    response = await _ask_over_tcp(name, kind, server)
            return response
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            failure = error
    if isinstance(failure, asyncio.IncompleteReadError):
        raise OSError("the name server hung up") from failure
    raise failure


async def _ask_over_udp(name: str, kind: int, server: Server) -> bytes:
    """Ask from a port of its own under an id nobody can guess, so that nobody else can answer."""
    id_ = secrets.randbelow(1 << 16)
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        asking.connect(server)
        asking.send(dns.write_query(id_, name, kind))
        while True:
            response = await asyncio.get_running_loop().sock_recv(asking, 65_535)
            if dns.is_answer_to(response, id_, name, kind):
                return response


async def _ask_over_tcp(name: str, kind: int, server: Server) -> bytes:
    id_ = secrets.randbelow(1 << 16)
    reader, writer = await asyncio.open_connection(*server)
    try:
        query = dns.write_query(id_, name, kind)
        writer.write(struct.pack("!H", len(query)) + query)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        response = await reader.readexactly(length)
    finally:
        writer.close()
    if not dns.is_answer_to(response, id_, name, kind):
        raise OSError("the name server answered another question")
    return response


def _family(server: Server) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET
