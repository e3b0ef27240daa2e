"""Both clients against a real server and real sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caisson import ApiError, AsyncClient, Client
from caisson.model import Isolation, Status, Stream
from tests.helpers.clients import DrivenAsyncClient
from tests.helpers.server import Server

WAITS = "await new Promise((go) => setTimeout(go, 60_000));"


@pytest.fixture(params=[Client, DrivenAsyncClient], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Any]:
    with request.param(server.url) as client:
        yield client


def test_a_function_runs_and_its_output_is_python(client: Any) -> None:
    done = client.run(runtime="node", code="export default (input) => ({ got: input });", input={"a": [1, None, "é"]})
    assert done.output == {"got": {"a": [1, None, "é"]}}
    assert (done.status, done.isolation_used, done.exit_code, done.error) == (
        Status.COMPLETED,
        Isolation.ISOLATE,
        0,
        None,
    )


def test_a_folder_runs(client: Any, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "main.js").write_text("import { one } from './lib/one.js'; export default () => one;")
    (tmp_path / "lib/one.js").write_text("export const one = 1;")
    assert client.run(runtime="node", archive=tmp_path).output == 1


def test_lines_arrive_while_the_program_runs_and_a_kill_ends_the_stream(client: Any) -> None:
    workload = client.submit(runtime="node", code=f"console.log('out'); console.error('err'); {WAITS}")
    log = client.logs(workload.id)
    assert {(line.stream, line.line) for line in (next(log), next(log))} == {
        (Stream.STDOUT, "out"),
        (Stream.STDERR, "err"),
    }
    assert client.kill(workload.id).status is Status.KILLED
    assert list(log) == []
    assert client.wait(workload.id).error.reason == "killed_by_user"


def test_the_same_key_never_makes_a_second_workload(client: Any) -> None:
    asked = {"runtime": "node", "code": "1", "idempotency_key": f"{type(client).__name__}-same"}
    assert client.submit(**asked).id == client.submit(**asked).id
    with pytest.raises(ApiError) as caught:
        client.submit(**(asked | {"code": "2"}))
    assert (caught.value.status, caught.value.reason) == (409, "idempotency_conflict")


def test_list_finds_more_than_a_page(client: Any) -> None:
    label = {"many": type(client).__name__}
    ids = [client.submit(runtime="node", code="1", labels=label, isolation="isolate").id for _ in range(101)]
    assert [found.id for found in client.list(label=f"many={label['many']}")] == ids[::-1]
    for workload_id in ids:
        client.wait(workload_id)


def test_what_the_server_refuses_names_the_member(client: Any) -> None:
    with pytest.raises(ApiError) as caught:
        client.run(runtime="node", code="1", mem_mb=1)
    assert (caught.value.status, caught.value.member) == (422, "resources.mem_mb")


def test_the_rest_of_the_api_decodes(client: Any) -> None:
    workload = client.run(runtime="node", code="console.log('kept')")
    client.health()
    assert any(backend.available for backend in client.backends())
    [node] = client.nodes()
    assert client.node(node.id).capacity == node.capacity
    assert client.stats().counts.runtime["node"] > 0
    assert [line.line for line in client.history(workload.id).lines] == ["kept"]


def test_a_log_goes_on_where_it_was_when_the_server_comes_back(start_server: Callable[..., Server]) -> None:
    first = start_server(shutdown_grace_s=0)
    address = first.url.removeprefix("http://")
    with Client(first.url) as client:
        workload = client.submit(runtime="node", code=f"console.log('one'); {WAITS}")
        log = client.logs(workload.id)
        assert next(log).line == "one"
        assert first.stop() == 0
        start_server(listen=address)
        assert list(log) == []
        assert client.get(workload.id).status is Status.KILLED


def test_a_run_that_is_cancelled_kills_its_workload(server: Server) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.run(runtime="node", code=WAITS, labels={"test": "cancelled"})
            [workload] = [found async for found in client.list(label="test=cancelled")]
            ended = await client.wait(workload.id, timeout_s=10)
            assert ended.error is not None
            assert (ended.status, ended.error.reason) == (Status.KILLED, "client_disconnected")

    asyncio.run(scenario())
