"""A client of Firecracker's API: HTTP over a unix socket, one request at a time, nothing of an answer trusted.

Firecracker is on the guest's side of the wall: a guest that broke out of its machine would speak here. Sizes are
bounded, every answer is checked, and a connection that broke the protocol is never used again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

import msgspec

from caisson.backends.microvm.firecracker.shapes import (
    Action,
    Body,
    Fault,
    InstanceInfo,
    SnapshotCreate,
    SnapshotLoad,
    Vm,
)
from caisson.backends.microvm.vmm import VmmError

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 1024 * 1024
ANSWER_TIMEOUT_S = 10.0
SNAPSHOT_TIMEOUT_S = 60.0
"""Writing a machine's memory takes as long as the disk does."""
_RETRY_S = 0.002
_SHOWN_CHARS = 1000

Answer = TypeVar("Answer", bound=msgspec.Struct)
Method = Literal["GET", "PUT", "PATCH"]


class ApiError(VmmError):
    """Firecracker refused, or what came is no answer. `status` is None where there was no answer that could be read."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One connection. Requests of several tasks wait for each other: Firecracker answers one at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self._broken: str | None = None

    async def describe(self) -> InstanceInfo:
        """Its identity, version and state."""
        return await self._ask("GET", "/", None, InstanceInfo)

    async def put(self, path: str, body: Body) -> None:
        """Configure something before the machine starts."""
        await self._do("PUT", path, body)

    async def start(self) -> None:
        """Let the configured machine boot."""
        await self._do("PUT", "/actions", Action(action_type="InstanceStart"))

    async def flush_metrics(self) -> None:
        """Have the metrics written now."""
        await self._do("PUT", "/actions", Action(action_type="FlushMetrics"))

    async def pause(self) -> None:
        """Stop the virtual CPUs."""
        await self._do("PATCH", "/vm", Vm(state="Paused"))

    async def resume(self) -> None:
        """Let them go on."""
        await self._do("PATCH", "/vm", Vm(state="Resumed"))

    async def save(self, body: SnapshotCreate) -> None:
        """Write a paused machine to two files."""
        await self._do("PUT", "/snapshot/create", body, SNAPSHOT_TIMEOUT_S)

    async def load(self, body: SnapshotLoad) -> None:
        """Continue a saved machine. Only as the first thing, apart from where log and metrics go."""
        await self._do("PUT", "/snapshot/load", body, SNAPSHOT_TIMEOUT_S)

    async def _do(self, method: Method, path: str, body: Body, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        status, answer = await self._request(method, path, body, timeout_s)
        if status != 204:
            raise ApiError(f"{method} {path}: {_fault(answer)}", status)

    async def _ask(self, method: Method, path: str, body: Body | None, kind: type[Answer]) -> Answer:
        status, answer = await self._request(method, path, body, ANSWER_TIMEOUT_S)
        if status != 200:
            raise ApiError(f"{method} {path}: {_fault(answer)}", status)
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(
                f"{method} {path}: Firecracker's answer is not what its description says: {error}"
            ) from error

    async def _request(self, method: Method, path: str, body: Body | None, timeout_s: float) -> tuple[int, bytes]:
        async with self._turn:
            if self._broken is not None:
                raise ApiError(f"{method} {path}: {self._broken}")
            # Whatever interrupts, a cancellation too, leaves an answer that a later request would take for its own.
            self._broken = "an earlier request was given up"
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._exchange(method, path, body)
            except TimeoutError as error:
                self._broken = f"Firecracker gave no answer within {timeout_s:g} s"
                raise ApiError(f"{method} {path}: {self._broken}") from error
            except (OSError, asyncio.IncompleteReadError) as error:
                self._broken = "Firecracker closed the connection"
                raise ApiError(f"{method} {path}: {self._broken}") from error
            except (ValueError, asyncio.LimitOverrunError) as error:
                self._broken = f"what Firecracker sent is not HTTP as expected: {error}"
                raise ApiError(f"{method} {path}: {self._broken}") from error
            self._broken = None
            return answer

    async def _exchange(self, method: Method, path: str, body: Body | None) -> tuple[int, bytes]:
        data = b"" if body is None else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        if data:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        self._writer.write(head.encode("ascii") + b"\r\n" + data)
        await self._writer.drain()
        while True:
            status, length = _parse_head(await self._reader.readuntil(b"\r\n\r\n"))
            answer = await self._reader.readexactly(length)
            if status >= 200:  # below: 100 Continue, and the answer follows
                return status, answer

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return


def _parse_head(head: bytes) -> tuple[int, int]:
    """Status and length of the body. Raises ValueError for anything but a short, plain HTTP/1.1 head."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isascii() and code.isdigit() and len(code) == 3):
        raise ValueError(f"it begins with {first[:80]!r}")
    length = 0
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "transfer-encoding":
            raise ValueError("a body without a length")
        if name.strip().lower() == "content-length":
            if not (value.strip().isascii() and value.strip().isdigit()):
                raise ValueError(f"a length of {value.strip()[:40]!r}")
            length = int(value)
    if length > MAX_BODY_BYTES:
        raise ValueError(f"a body of {length} bytes")
    return int(code), length


def _fault(body: bytes) -> str:
    """Firecracker's own words."""
    try:
        text = msgspec.json.decode(body, type=Fault).fault_message
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:_SHOWN_CHARS] or "refused without a word"


@asynccontextmanager
async def connected(connect: Callable[[], socket.socket], ended: Callable[[], bool]) -> AsyncIterator[Api]:
    """A client of the Firecracker that listens there, or soon will; the caller limits how long to wait.

    `connect` raises FileNotFoundError or ConnectionRefusedError while nobody listens. Raises VmmError once `ended`.
    """
    while True:
        try:
            client = connect()
            break
        except (FileNotFoundError, ConnectionRefusedError):
            if ended():
                raise ApiError("Firecracker ended before it listened") from None
            await asyncio.sleep(_RETRY_S)
    reader, writer = await asyncio.open_unix_connection(sock=client, limit=MAX_HEAD_BYTES)
    api = Api(reader, writer)
    try:
        yield api
    finally:
        await api.close()
