"""A stand-in for Firecracker's API, for what a real one does not do on demand: being slow, wrong, or gone.

It also holds every request against the noted description of the API, and so says whether a client asks properly.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DESCRIPTION = json.loads((Path(__file__).parents[1] / "data" / "firecracker-api.json").read_text())
PYTHON_TYPES = {"string": str, "boolean": bool, "integer": int}


@dataclass
class Asked:
    """One request, as it arrived."""

    method: str
    path: str
    body: Any


@dataclass
class FakeFirecracker:
    """Answers as described, or with the bytes of `replies` where there are any, one for each request."""

    path: Path
    replies: list[bytes] = field(default_factory=list)
    delay_s: float = 0
    closes_after: int | None = None
    """Close the connection after so many answers."""
    asked: list[Asked] = field(default_factory=list)

    def connect(self) -> socket.socket:
        """A client's connection to it."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        client.setblocking(False)
        return client

    async def act(self) -> bytes | None:
        """Do what was asked last; another answer than the described one, or None."""
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().rstrip().split("\r\n")
                lengths = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
                body = await reader.readexactly(lengths[0]) if lengths else b""
                method, path, _ = first.split(" ")
                self.asked.append(Asked(method, path, json.loads(body) if body else None))
                await asyncio.sleep(self.delay_s)
                acted = await self.act()
                told = self.replies.pop(0) if self.replies else _as_described(self.asked[-1])
                writer.write(acted or told)
                await writer.drain()
                if self.closes_after is not None and len(self.asked) >= self.closes_after:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fake_firecracker(folder: Path) -> AsyncIterator[FakeFirecracker]:
    """One that listens."""
    fake = FakeFirecracker(folder / "api.sock")
    server = await asyncio.start_unix_server(fake.serve, fake.path)
    try:
        yield fake
    finally:
        server.close()


def reply(status: int, body: bytes = b"") -> bytes:
    """An HTTP answer as Firecracker writes it."""
    head = f"HTTP/1.1 {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _as_described(asked: Asked) -> bytes:
    found = _request_of(asked)
    if isinstance(found, str):
        return reply(400, json.dumps({"fault_message": found}).encode())
    if found["answer"] is None:
        return reply(found["status"])
    instance = {"id": "fake", "state": "Not started", "vmm_version": "1.16.1", "app_name": "Firecracker"}
    return reply(200, json.dumps(instance).encode())


def _request_of(asked: Asked) -> dict[str, Any] | str:
    """The described request that this is; or why it is none."""
    for name, request in DESCRIPTION["requests"].items():
        method, path = name.split(" ")
        if method == asked.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), asked.path):
            if request["body"] is None:
                return request if asked.body is None else "a body where there is none"
            return fault_in(request["body"], asked.body, asked.path) or request
    return f"no such request: {asked.method} {asked.path}"


def fault_in(kind: Any, value: Any, place: str) -> str | None:
    """What is wrong with a value by the description; None if nothing is."""
    if isinstance(kind, list):
        return None if value in kind else f"{place}: {value!r} is none of {kind}"
    if isinstance(kind, dict) and "list_of" in kind:
        if not isinstance(value, list):
            return f"{place} is no list"
        return next(filter(None, (fault_in(kind["list_of"], each, place) for each in value)), None)
    if isinstance(kind, dict) and "integer" in kind:
        low, high = kind["integer"]
        fits = isinstance(value, int) and (low is None or value >= low) and (high is None or value <= high)
        return None if fits else f"{place}: {value!r} is not in {low}…{high}"
    if kind in PYTHON_TYPES:
        return None if type(value) is PYTHON_TYPES[kind] else f"{place}: {value!r} is no {kind}"
    shape = DESCRIPTION["shapes"][kind]
    if "members" not in shape:
        return fault_in(shape, value, place)
    if not isinstance(value, dict):
        return f"{place} is no object"
    if unknown := value.keys() - shape["members"].keys():
        return f"{place}: unknown members {sorted(unknown)}"
    if missing := set(shape["required"]) - value.keys():
        return f"{place}: missing members {sorted(missing)}"
    faults = (fault_in(shape["members"][name], inner, f"{place}.{name}") for name, inner in value.items())
    return next(filter(None, faults), None)
