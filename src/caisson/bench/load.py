"""A small HTTP load generator: keep-alive connections that each send one request after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import Any


@dataclass(slots=True)
class Sample:
    """Latencies of a run in milliseconds, and how long all of it took in seconds."""

    latencies_ms: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    def percentile(self, share: float) -> float:
        """Nearest-rank percentile of the latencies; `share` is between 0 and 1."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def per_second(self) -> float:
        """Requests finished in a second."""
        return len(self.latencies_ms) / self.elapsed_s


class LoadError(Exception):
    """The server did not answer a request as the benchmark expects; the figures would mean nothing."""


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> Any:
        """Send one request and return the decoded answer. Raises LoadError unless it is a 2xx."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        content = await self._content(self._reader, answer.lower())
        if not answer.startswith(b"HTTP/1.1 2"):
            raise LoadError(content.decode(errors="replace"))
        return json.loads(content)

    async def _content(self, reader: asyncio.StreamReader, head: bytes) -> bytes:
        if b"content-length:" in head:
            return await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        content = b""
        while size := int(await reader.readline(), 16):
            content += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return content

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()


async def run_workloads(
    port: int, request: Mapping[str, object], *, clients: int, count: int, pause_s: float = 0, start: str | None = None
) -> Sample:
    """Run `count` workloads over `clients` connections, each waiting `pause_s` between two requests.

    With `start`, only workloads whose sandbox came to be so are counted as samples. Raises LoadError if one fails.
    """
    body = json.dumps(request).encode()
    sample = Sample()
    left = iter(range(count))

    async def client() -> None:
        connection = Connection(port)
        try:
            for _ in left:
                sent_at = perf_counter()
                answer = await connection.post("/v1/workloads", body)
                took_ms = (perf_counter() - sent_at) * 1000
                if answer["status"] != "completed":
                    raise LoadError(f"a workload ended as {answer['status']}: {answer['error']}")
                if start is None or answer["start"] == start:
                    sample.latencies_ms.append(took_ms)
                if pause_s:
                    await asyncio.sleep(pause_s)
        finally:
            connection.close()

    began_at = perf_counter()
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    except* (LoadError, OSError, EOFError) as failures:
        failure = _first(failures)
    if failure is not None:
        raise LoadError(str(failure)) from failure
    sample.elapsed_s = perf_counter() - began_at
    if not sample.latencies_ms:
        raise LoadError(f"no workload of {count} had a start that was {start}")
    return sample


def _first(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


async def first_line_delays_ms(port: int, count: int) -> Sequence[float]:
    """How long after a program writes its first line a connected reader has it.

    The program writes the wall-clock time; writer and reader share the machine's clock.
    """
    code = "await new Promise(r => setTimeout(r, 100)); console.log(performance.timeOrigin + performance.now())"
    delays = []
    for _ in range(count):
        connection = Connection(port)
        accepted = await connection.post("/v1/workloads/async", json.dumps({"runtime": "node", "code": code}).encode())
        connection.close()
        delays.append(await _first_line_delay_ms(port, str(accepted["id"])))
    return delays


async def _first_line_delay_ms(port: int, workload_id: str) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /v1/workloads/{workload_id}/logs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    )
    async for line in reader:
        if line.startswith(b"data: {"):
            written_ms = float(json.loads(line[6:])["line"])
            writer.close()
            return time() * 1000 - written_ms
    raise LoadError("the log stream ended without a line")
