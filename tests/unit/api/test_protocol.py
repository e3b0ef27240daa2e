"""A client that sends its request slowly, or a head without end, is let go; who waits for an answer is not."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from caisson.api import protocol
from caisson.api.protocol import MAX_HEAD_BYTES, BoundedProtocol

pytestmark = pytest.mark.anyio
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_S", 0.1)


class App:
    """Reads the body and answers how long it was, after `pause_s`."""

    def __init__(self, pause_s: float = 0) -> None:
        self.pause_s = pause_s
        self.gone = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        length = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            length += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await asyncio.sleep(self.pause_s)
        headers = [(b"content-length", b"8"), (b"x-headers", str(len(scope["headers"])).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": f"{length:8}".encode()})


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of `app`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(server._serve([listener]))
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            yield reader, writer
            writer.close()
            server.should_exit = True


async def answer(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes the connection."""
    return await reader.read(-1)


async def test_one_that_connects_and_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    async with serving(App()) as (reader, _):
        assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")


async def test_a_head_that_comes_byte_by_byte_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    async with serving(App()) as (reader, writer):

        async def drip() -> None:
            for byte in HEAD * 100:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()


async def test_a_body_that_drips_is_not_waited_for_and_the_application_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BODY_S", 0.3)
    app = App()
    async with serving(app) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await answer(reader)).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()
    assert app.gone == 1


async def test_a_body_that_comes_at_a_fair_rate_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BODY_S", 1.0)
    async with serving(App()) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 81920\r\nConnection: close\r\n\r\n")
        for _ in range(10):
            writer.write(bytes(8192))
            await asyncio.sleep(0.25)
        assert (await answer(reader)).endswith(b"   81920")


async def test_who_waits_for_an_answer_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 1.0)
    monkeypatch.setattr(protocol, "BODY_S", 1.0)
    async with serving(App(pause_s=2)) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 3\r\nConnection: close\r\n\r\nabc")
        assert (await answer(reader)).endswith(b"       3")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 2 * MAX_HEAD_BYTES,
        HEAD + b"X-Long: " + b"x" * 2 * MAX_HEAD_BYTES,
        HEAD + b"X: y\r\n" * MAX_HEAD_BYTES,
    ],
    ids=["path", "header", "headers"],
)
async def test_a_head_without_end_is_refused_without_being_kept(head: bytes) -> None:
    async with serving(App()) as (reader, writer):
        writer.write(head)
        assert (await answer(reader)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"what is this\r\n\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "malformed"),
        (HEAD + b"Content-Length: x\r\n\r\n", 400, "malformed"),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "malformed"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n", 400, "malformed"),
        (HEAD + b"X-Long: " + b"x" * 4 * MAX_HEAD_BYTES, 431, "head_too_large"),
        (HEAD, 408, "too_slow"),
        (HEAD + b"Content-Length: 3\r\n\r\na", 408, "too_slow"),
    ],
    ids=["text", "tls", "length", "lengths", "chunk", "large", "slow head", "slow body"],
)
async def test_what_is_no_request_is_answered_with_a_problem(
    sent: bytes, status: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == 408:
        monkeypatch.setattr(protocol, "HEAD_S", 0.3)
        monkeypatch.setattr(protocol, "BODY_S", 0.3)
    async with serving(App()) as (reader, writer):
        writer.write(sent)
        head, _, body = (await answer(reader)).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ".encode())
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert f"content-length: {len(body)}".encode() in lines
    problem = json.loads(body)
    assert (problem["status"], problem["reason"]) == (status, reason)
    assert problem["type"].endswith(f"#{reason}")


async def test_nonsense_behind_a_request_is_not_put_into_its_answer() -> None:
    app = App(pause_s=0.5)
    async with serving(app) as (reader, writer):
        writer.write((HEAD + b"Content-Length: 3\r\n\r\nabc") * 2 + b"nonsense\r\n\r\n")
        assert await answer(reader) == b""


async def test_a_connection_serves_many_requests_one_after_the_other_and_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 1.0)
    monkeypatch.setattr(protocol, "BODY_S", 1.0)
    async with serving(App()) as (reader, writer):
        for _ in range(3):
            writer.write(HEAD + b"Content-Length: 3\r\n\r\nabc")
            assert (await reader.readuntil(b"       3")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(1.2)  # between two requests it may be quiet for longer
        writer.write((HEAD + b"Content-Length: 3\r\n\r\nabc") * 5)
        for _ in range(5):
            assert (await reader.readuntil(b"       3")).startswith(b"HTTP/1.1 200 ")
