"""What every process needs runs out while sandboxes wait and many requests come at once: each gets an answer that is
written down, and what the server holds afterwards is what it held before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.leaks import cgroups_naming
from tests.helpers.processes import descendants
from tests.helpers.runs import outcome, run
from tests.helpers.scarcity import few_descriptors, no_inodes, no_processes, no_space, small_file_system
from tests.helpers.server import Server, wait_until

MANY = 24
PATIENCE_S = 60
WORKLOAD = {"runtime": "node", "code": "console.log('said'); export default () => 1"}
DONE = {("completed", None), "listed", "followed"}
NOT_DONE = {("failed", "start_failed"), (503, "overloaded"), (503, "storage")}
SMALL = {no_inodes: "size=64m,nr_inodes=400", no_space: "size=24m"}


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """What a problem document says."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["reason"]


def run_and_wait(http: httpx2.Client) -> Any:
    answer = http.post("/v1/workloads", json=WORKLOAD)
    return outcome(answer.json()) if answer.status_code == 200 else refusal(answer)


def submit_and_look(http: httpx2.Client) -> Any:
    answer = http.post("/v1/workloads/async", json=WORKLOAD)
    if answer.status_code == 202:
        answer = http.get(f"/v1/workloads/{answer.json()['id']}", params={"wait": PATIENCE_S})
    return outcome(answer.json()) if answer.status_code == 200 else refusal(answer)


def submit_and_follow(http: httpx2.Client) -> Any:
    answer = http.post("/v1/workloads/async", json=WORKLOAD)
    if answer.status_code == 202:
        answer = http.get(f"/v1/workloads/{answer.json()['id']}/logs")
    if answer.status_code != 200:
        return refusal(answer)
    return "followed" if "event: done" in answer.text else answer.text


def list_all(http: httpx2.Client) -> Any:
    answer = http.get("/v1/workloads")
    return "listed" if answer.status_code == 200 else refusal(answer)


def crowd(server: Server) -> Counter[Any]:
    """So many clients at once, of every kind, each with a connection of its own: what they were told."""
    asks = (run_and_wait, submit_and_look, submit_and_follow, list_all)

    def ask(number: int) -> Any:
        with server.client(PATIENCE_S + 10) as http:
            return asks[number % len(asks)](http)

    with ThreadPoolExecutor(MANY) as clients:
        return Counter(clients.map(ask, range(MANY)))


def holdings(server: Server) -> Counter[str]:
    """What must not become more; connections to the database are kept when they were needed once."""
    held = Counter(f"process {process.name}" for process in descendants(server.process.pid))
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            name = str(entry.readlink())
            if "caisson.db" not in name:
                held["open file" if name.startswith("/") else f"open {name.partition(':')[0]}"] += 1
    held["control groups"] = len(cgroups_naming(server.node_id))
    held["sandboxes"] = len(list((server.data_dir / "node" / "isolate").iterdir()))
    return held


@pytest.mark.parametrize("scarcity", [few_descriptors, no_processes, no_inodes, no_space])
def test_each_of_many_is_told_and_nothing_is_left(
    scarcity: Callable[[Server], AbstractContextManager[None]], start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """With sandboxes that wait, and requests of every kind."""
    with ExitStack() as stack:
        if scarcity in SMALL:
            stack.enter_context(small_file_system(tmp_path / "server" / "data", SMALL[scarcity]))
        # As many wait as are configured, whatever was asked for lately: what is held can be compared.
        server = start_server(backends="isolate", warm_growth=1)
        server.settle()
        before = holdings(server)
        with scarcity(server):
            told = crowd(server)
            assert told.keys() <= DONE | NOT_DONE, told
            assert told.keys() & NOT_DONE, told
        with server.client() as http:
            assert outcome(run(http, code="export default () => 1")) == ("completed", None)
        server.settle(PATIENCE_S)
        wait_until(lambda: not holdings(server) - before, f"the server to hold no more than {before}", PATIENCE_S)
        assert crowd(server).keys() <= DONE
        mistakes = [line for line in server.log().splitlines() if "exception" in json.loads(line)]
        assert not mistakes, mistakes
        assert server.stop() == 0
    assert cgroups_naming(server.node_id) == []
