"""The server dies or is stopped: every acknowledged workload is there afterwards, and nothing is left running."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import httpx2
import pytest

from tests.helpers.leaks import assert_nothing_left
from tests.helpers.processes import descendants
from tests.helpers.runs import events, logs, outcome, submit, wait
from tests.helpers.server import Server, wait_until

FOREVER = "console.log('begun'); for (;;) {}"


def begun(http: httpx2.Client, code: str) -> str:
    """A workload that has certainly begun."""
    workload_id = submit(http, code=code)
    next(events(http, workload_id))
    return workload_id


def test_after_sigkill_what_ran_is_lost_and_what_waited_runs(start_server: Callable[..., Server]) -> None:
    server = start_server(max_running=1)
    with server.client() as http:
        running = begun(http, FOREVER)
        waiting = [submit(http, code=f"export default () => {i}") for i in range(5)]
    server.signal(signal.SIGKILL)
    server.wait()
    with start_server(max_running=1, node_id=server.node_id).client() as http:
        assert outcome(wait(http, running)) == ("failed", "node_lost")
        assert [line["line"] for line in logs(http, running)] == ["begun"]
        assert [wait(http, one)["output"] for one in waiting] == list(range(5))


def test_sigkill_leaves_nothing_running(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with server.client() as http:
        begun(http, FOREVER)
    sandboxes = descendants(server.process.pid)
    server.signal(signal.SIGKILL)
    server.wait()
    start_server(node_id=server.node_id).stop()
    assert_nothing_left(server.folder, server.node_id, sandboxes)


def test_sigterm_lets_a_short_one_finish_kills_a_long_one_and_keeps_the_waiting(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(max_running=2, shutdown_grace_s=2)
    with server.client() as http:
        short = begun(http, "console.log(1); await new Promise((r) => setTimeout(r, 800)); console.log(2)")
        long = begun(http, FOREVER)
        waiting = submit(http, code="export default () => 'later'")
    assert server.stop() == 0
    with start_server().client() as http:
        assert outcome(wait(http, short)) == ("completed", None)
        assert outcome(wait(http, long)) == ("killed", "shutdown")
        assert wait(http, waiting)["output"] == "later"


def test_streams_close_within_a_second_of_sigterm(start_server: Callable[..., Server]) -> None:
    server = start_server(shutdown_grace_s=60)
    with server.client() as http:
        workload_id = begun(http, FOREVER)
        with http.stream("GET", f"/v1/workloads/{workload_id}/logs") as answer:
            lines = answer.iter_lines()
            next(lines)
            server.signal(signal.SIGTERM)
            wait_until(lambda: http.get("/readyz").status_code == 503, "the server to begin to stop", 20)
            stops_since = time.monotonic()
            rest = list(lines)
            assert time.monotonic() - stops_since < 1.5, "the stream stayed open"
        # It ended before its workload did.
        assert "event: done" not in rest
        assert server.process.poll() is None
        assert http.get("/readyz").status_code == 503
        assert http.get(f"/v1/workloads/{workload_id}").json()["status"] == "running"
        http.delete(f"/v1/workloads/{workload_id}")
    assert server.wait() == 0


def test_while_it_stops_new_work_is_refused(start_server: Callable[..., Server]) -> None:
    server = start_server(shutdown_grace_s=60)
    with server.client() as http:
        workload_id = begun(http, FOREVER)
        server.signal(signal.SIGTERM)
        while http.get("/readyz").status_code == 200:
            pass
        refused = http.post("/v1/workloads/async", json={"runtime": "node", "code": "1"})
        assert (refused.status_code, refused.json()["reason"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers
        http.delete(f"/v1/workloads/{workload_id}")
    assert server.wait() == 0


def test_a_client_that_waits_at_shutdown_is_told(start_server: Callable[..., Server]) -> None:
    server = start_server(shutdown_grace_s=0.5)
    told: list[httpx2.Response] = []

    def ask() -> None:
        with server.client() as http:
            told.append(http.post("/v1/workloads", json={"runtime": "node", "code": FOREVER}))

    asking = threading.Thread(target=ask)
    asking.start()
    with server.client() as http:
        while not http.get("/v1/nodes").json()[0]["running"]:
            pass
    assert server.stop() == 0
    asking.join()
    assert outcome(told[0].json()) == ("killed", "shutdown")


@pytest.mark.parametrize("warm", [0, 2])
def test_a_sandbox_killed_from_outside_fails_its_workload_only(start_server: Callable[..., Server], warm: int) -> None:
    server = start_server(warm_node=warm, warm_wasm=0)
    with server.client() as http:
        server.settle()
        idle = descendants(server.process.pid)
        workload_id = begun(http, FOREVER)
        for process in descendants(server.process.pid) - (idle if warm == 0 else frozenset()):
            # Helpers that are just making the next sandbox come and go.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        crashed = wait(http, workload_id)
        assert crashed["status"] == "failed"
        assert crashed["error"]["reason"] in ("sandbox_crashed", "exit_nonzero")
        assert wait(http, submit(http, code="export default () => 1"))["output"] == 1
