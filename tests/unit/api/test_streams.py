"""Event streams and waiting requests end when they should, and never leave anyone working for nobody."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from caisson import metrics
from caisson.api import logs, streams
from tests.unit.api.doubles import KNOWN_ID, EngineDouble, line, make_app

pytestmark = pytest.mark.anyio
LOGS = f"/v1/workloads/{KNOWN_ID}/logs"


class Connection:
    """One request on an ASGI application, whose client can leave and whose answer can be watched."""

    def __init__(self, app: FastAPI, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self._app = app
        self._gone = asyncio.Event()
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]
        given = {"host": "localhost", "content-type": "application/json"} | headers
        self._scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": b"",
            "scheme": "http",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
        }

    async def serve(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    def leave(self) -> None:
        self._gone.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.arrived.set()


def open_streams() -> float:
    value: float = metrics.log_streams_open._value.get()
    return value


async def test_each_line_is_an_event_and_the_last_event_tells_the_outcome(
    http: httpx2.AsyncClient, engine: EngineDouble
) -> None:
    engine.log = [line(0, "a\nb\u2028"), line(1, "")]
    answer = await http.get(LOGS)
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert [event.split("\n")[0] for event in events] == ["id: 0", "id: 1", "event: done"]
    assert json.loads(events[0].split("\n")[1].removeprefix("data: ")) == {
        "seq": 0,
        "stream": "stdout",
        "line": "a\nb\u2028",
        "ts": "2026-01-02T03:04:05Z",
    }
    done = json.loads(events[2].split("\n")[1].removeprefix("data: "))
    assert done == {"status": "completed", "exit_code": 0, "reason": None}
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "no-store" in answer.headers["Cache-Control"]


async def test_a_reader_that_comes_back_goes_on_where_it_was(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    engine.log = [line(seq) for seq in range(5)]
    answer = await http.get(LOGS, headers={"Last-Event-ID": "2"})
    assert [text for text in answer.text.split("\n") if text.startswith("id:")] == ["id: 3", "id: 4"]


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 17, "\u00b2", "1 2"])
async def test_a_last_event_id_that_is_no_line_number_is_refused(http: httpx2.AsyncClient, value: str) -> None:
    answer = await http.get(LOGS, headers={b"Last-Event-ID": value.encode("latin-1")})
    assert (answer.status_code, answer.json()["member"]) == (400, "Last-Event-ID")


async def test_a_client_that_does_not_want_events_is_told(http: httpx2.AsyncClient) -> None:
    assert (await http.get(LOGS, headers={"Accept": "application/json"})).status_code == 406


async def test_a_long_batch_is_written_in_blocks_and_loses_no_line(
    http: httpx2.AsyncClient, engine: EngineDouble
) -> None:
    engine.log = [line(seq) for seq in range(2 * logs.LINES_PER_WRITE + 1)]
    text = (await http.get(LOGS)).text
    assert [int(row[4:]) for row in text.split("\n") if row.startswith("id: ")] == list(range(len(engine.log)))


async def test_when_the_reader_leaves_the_log_is_no_longer_followed(tmp_path: Path) -> None:
    engine = EngineDouble(hang=True, log=[line(0)])
    connection, before = Connection(make_app(engine, tmp_path), "GET", LOGS), open_streams()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(connection.serve())
        await connection.arrived.wait()
        assert (engine.followers, open_streams()) == (1, before + 1)
        connection.leave()
    assert (engine.followers, open_streams()) == (0, before)


async def test_a_quiet_stream_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.001)
    connection = Connection(make_app(EngineDouble(hang=True), tmp_path), "GET", LOGS)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(connection.serve())
        await connection.arrived.wait()
        connection.leave()
    assert connection.body.startswith(b":\n\n")


async def test_a_heartbeat_comes_at_least_every_fifteen_seconds() -> None:
    assert streams.HEARTBEAT_S <= 15


async def test_when_the_client_leaves_its_workload_is_ended(tmp_path: Path) -> None:
    engine = EngineDouble(hang=True)
    body = b'{"runtime": "node", "code": "1"}'
    connection = Connection(make_app(engine, tmp_path), "POST", "/v1/workloads", body)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(connection.serve())
        await engine.working.wait()
        connection.leave()
    assert engine.cancelled


async def test_when_the_client_leaves_in_mid_upload_the_file_is_removed(tmp_path: Path) -> None:
    engine = EngineDouble()
    body = b'--x\r\nContent-Disposition: form-data; name="archive"\r\n\r\n' + b"z" * (3 << 20)
    connection = Connection(
        make_app(engine, tmp_path), "POST", "/v1/workloads", body, content_type="multipart/form-data; boundary=x"
    )
    connection._messages[0]["more_body"] = True
    connection.leave()
    async with asyncio.timeout(10):
        await connection.serve()
    assert not engine.submissions
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("uploads/*")))
