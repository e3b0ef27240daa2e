"""QEMU's machine protocol (QMP): commands with answers and events, over a connected socket.

QEMU's devices face a hostile guest, so nothing it says is trusted to be small or well-formed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from caisson.backends.microvm.vmm import VmmError

_LINE_BYTES = 1 << 20
_READ_BYTES = 64 * 1024


class Qmp:
    """One connection. Owns the socket; needs a running loop; must be closed."""

    def __init__(self, connection: socket.socket, on_event: Callable[[str, Mapping[str, Any]], None]) -> None:
        """`on_event` is called with an event's name and data as it arrives; the end of the connection is none."""
        connection.setblocking(False)
        self._connection = connection
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._received = b""
        self._greeting: asyncio.Future[Mapping[str, Any]] = self._loop.create_future()
        self._failure: VmmError | None = None
        self._loop.add_reader(connection, self._read)

    async def open(self) -> Mapping[str, Any]:
        """Wait for the greeting and leave negotiation mode; what QEMU says of its version. Raises VmmError."""
        greeting = await self._greeting
        await self.execute("qmp_capabilities")
        return greeting

    async def execute(self, command: str, /, *, timeout_s: float = 10, **arguments: Any) -> Any:
        """Carry out one command and return what it returns. Raises VmmError with QEMU's own text."""
        return await self._execute(command, arguments, timeout_s, ())

    async def hand_over(self, fd: int, name: str) -> None:
        """Give QEMU a copy of a descriptor, under a name that other commands can use."""
        await self._execute("getfd", {"fdname": name}, 10, (fd,))

    def close(self) -> None:
        """Close the connection; whoever waits for an answer gets VmmError. Idempotent."""
        self._fail("the connection was closed")
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection)
            self._connection.close()

    async def _execute(
        self, command: str, arguments: Mapping[str, Any], timeout_s: float, descriptors: tuple[int, ...]
    ) -> Any:
        if self._failure is not None:
            raise self._failure
        number = next(self._numbers)
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        message = json.dumps({"execute": command, "id": number, "arguments": names}).encode() + b"\n"
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                # Commands are far smaller than the socket's buffer, so the first part takes the descriptors along.
                sent = socket.send_fds(self._connection, [message], list(descriptors)) if descriptors else 0
                await self._loop.sock_sendall(self._connection, message[sent:])
                return await answer
        except TimeoutError as error:
            raise VmmError(f"QEMU did not answer {command} within {timeout_s:g} s") from error
        except OSError as error:
            raise VmmError(f"QEMU does not listen: {error.strerror}") from error
        finally:
            del self._waiting[number]

    def _read(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._connection)
            self._fail("QEMU closed the connection")
            return
        *lines, self._received = (self._received + data).split(b"\n")
        try:
            for line in lines:
                self._hear(json.loads(line))
            if len(self._received) > _LINE_BYTES:
                raise ValueError("a line of more than a megabyte")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._loop.remove_reader(self._connection)
            self._fail(f"QEMU said what is no QMP: {error}")

    def _hear(self, message: Mapping[str, Any]) -> None:
        if "event" in message:
            self._on_event(message["event"], message.get("data", {}))
        elif "QMP" in message and not self._greeting.done():
            self._greeting.set_result(message["QMP"])
        elif (answer := self._waiting.get(message.get("id", 0))) is not None and not answer.done():
            if "error" in message:
                answer.set_exception(VmmError(str(message["error"]["desc"])))
            else:
                answer.set_result(message["return"])

    def _fail(self, why: str) -> None:
        self._failure = self._failure or VmmError(why)
        for answer in (self._greeting, *self._waiting.values()):
            if not answer.done():
                answer.set_exception(self._failure)
        if self._greeting.done() and not self._greeting.cancelled():
            self._greeting.exception()  # it may be that nobody waits for it any more
