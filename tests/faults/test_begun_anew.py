"""Who asks for it is begun anew after the server died; who does not is told the truth; nobody is begun for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from tests.helpers.processes import descendants
from tests.helpers.runs import events, logs, outcome, submit, wait
from tests.helpers.server import Server, node_name

PHOENIX = node_name("phoenix")


def napping(ms: int) -> str:
    return f"console.log('begun'); await new Promise((go) => setTimeout(go, {ms})); console.log('done')"


CODE, LONG, ENDLESS = napping(1_500), napping(4_000), napping(60_000)


def begun(http: httpx2.Client, code: str = CODE, **more: Any) -> str:
    workload_id = submit(http, code=code, **more)
    next(events(http, workload_id))
    return workload_id


def test_an_idempotent_one_runs_to_its_end_and_its_log_goes_on(start_server: Callable[..., Server]) -> None:
    settings: dict[str, Any] = {"node_id": PHOENIX, "warm_wasm": 0}
    server = start_server(**settings)
    with server.client() as http:
        careful = begun(http, ENDLESS, retries=3)
        silent = begun(http, ENDLESS)
        # Last: it must not be over before the server is killed.
        asked = begun(http, retries=1, idempotent=True)
    server.signal(signal.SIGKILL)
    server.wait()
    with start_server(**settings).client() as http:
        done = wait(http, asked)
        assert (outcome(done), done["attempts"]) == (("completed", None), 2)
        lines = logs(http, asked)
        assert [(line["seq"], line["line"]) for line in lines] == [(0, "begun"), (1, "begun"), (2, "done")]
        for workload_id in (careful, silent):
            assert outcome(wait(http, workload_id)) == ("failed", "node_lost")


def test_one_that_waits_to_be_begun_anew_at_shutdown_waits_for_the_next_start(
    start_server: Callable[..., Server],
) -> None:
    settings: dict[str, Any] = {"node_id": PHOENIX, "warm_wasm": 0, "shutdown_grace_s": 0}
    server = start_server(max_running=2, **settings)
    with server.client() as http:
        workloads = [submit(http, code=LONG, retries=3, idempotent=True) for _ in range(2)]
        # Both have begun, and neither may be over before the server is killed.
        for workload_id in workloads:
            next(events(http, workload_id))
    server.signal(signal.SIGKILL)
    server.wait()
    server = start_server(max_running=1, **settings)
    with server.client() as http:
        while not http.get("/v1/nodes").json()[0]["running"]:
            pass
    assert server.stop() == 0
    with start_server(**settings).client() as http:
        ends = [outcome(wait(http, workload_id)) for workload_id in workloads]
        # Which of the two had the one place is not told; had neither its sandbox yet, both go on.
        assert ("completed", None) in ends
        assert set(ends) <= {("completed", None), ("killed", "shutdown")}


def test_it_is_begun_no_more_often_than_it_asked_for(start_server: Callable[..., Server]) -> None:
    settings: dict[str, Any] = {"node_id": PHOENIX, "warm_wasm": 0}
    server = start_server(**settings)
    with server.client() as http:
        workload_id = begun(http, ENDLESS, retries=1, idempotent=True)
    for seen in (1, 2):
        server.signal(signal.SIGKILL)
        server.wait()
        server = start_server(**settings)
        with server.client() as http:
            if seen == 1:
                while len(logs(http, workload_id)) < 2:
                    pass
            else:
                lost = wait(http, workload_id)
                assert (outcome(lost), lost["attempts"]) == (("failed", "node_lost"), 2)


@pytest.mark.parametrize("idempotent", [True, False])
def test_after_a_crash_of_the_sandbox_only_what_says_it_does_no_harm_is_begun_anew(
    start_server: Callable[..., Server], idempotent: bool
) -> None:
    server = start_server(warm_node=0, warm_wasm=0)
    with server.client() as http:
        workload_id = begun(http, retries=1, idempotent=idempotent)
        for process in descendants(server.process.pid):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        ended = wait(http, workload_id)
        if idempotent:
            assert (outcome(ended), ended["attempts"]) == (("completed", None), 2)
            assert [line["line"] for line in logs(http, workload_id)] == ["begun", "begun", "done"]
        else:
            assert (ended["status"], ended["attempts"]) == ("failed", 1)
