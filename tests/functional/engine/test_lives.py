"""The life of a workload as its owner sees it: acceptance, waiting, killing, deadlines, listing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx2
import pytest

from tests.helpers.runs import outcome, run, submit, wait
from tests.helpers.server import Server, wait_until

FOREVER = "for (;;) {}"
NAP = "await new Promise((r) => setTimeout(r, 300)); console.log('awake')"


def test_both_endpoints_default_to_auto_and_say_what_it_chose(http: httpx2.Client) -> None:
    for workload in (run(http, code="1"), wait(http, submit(http, code="1"))):
        assert (workload["isolation"], workload["isolation_used"]) == ("auto", "isolate")
        assert "node" in workload["routing"]


def test_an_accepted_workload_has_a_location_and_can_be_waited_for(http: httpx2.Client) -> None:
    accepted = http.post("/v1/workloads/async", json={"runtime": "node", "code": NAP})
    assert accepted.status_code == 202
    location = accepted.headers["location"]
    assert location.endswith(accepted.json()["id"])
    assert http.get(location, params={"wait": 30}).json()["status"] == "completed"
    endless = f"/v1/workloads/{submit(http, code=FOREVER)}"
    assert http.get(endless, params={"wait": 0.01}).json()["status"] in ("pending", "running")
    assert http.delete(endless).status_code == 200


def test_times_add_up(http: httpx2.Client) -> None:
    timings = run(http, code=NAP)["timings"]
    assert timings["exec_ms"] >= 300
    assert timings["queued_ms"] + timings["start_ms"] + timings["exec_ms"] <= timings["total_ms"] + 1


def test_a_client_that_goes_away_takes_its_workload_with_it(http: httpx2.Client) -> None:
    with pytest.raises(httpx2.TimeoutException):
        http.post("/v1/workloads", json={"runtime": "node", "code": FOREVER, "labels": {"t": "gone"}}, timeout=1)

    def killed() -> bool:
        (workload,) = http.get("/v1/workloads", params={"label": "t=gone"}).json()["workloads"]
        return outcome(workload) == ("killed", "client_disconnected")

    wait_until(killed, "the workload to be killed", 20)


def test_a_waiting_workload_can_be_killed_before_it_begins(start_server: Callable[..., Server]) -> None:
    with start_server(max_running=1).client() as http:
        running, waiting = submit(http, code=FOREVER), submit(http, code="1")
        killed = http.delete(f"/v1/workloads/{waiting}").json()
        assert outcome(killed) == ("killed", "killed_by_user")
        assert killed["started_at"] is None
        http.delete(f"/v1/workloads/{running}")


def test_a_full_queue_is_a_503_with_retry_after_and_loses_nobody(start_server: Callable[..., Server]) -> None:
    with start_server(max_running=1, queue_limit=2).client() as http:
        accepted = [submit(http, code=FOREVER if i == 0 else "1") for i in range(3)]
        refused = http.post("/v1/workloads/async", json={"runtime": "node", "code": "1"})
        assert (refused.status_code, refused.json()["reason"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        http.delete(f"/v1/workloads/{accepted[0]}")
        assert [wait(http, one)["status"] for one in accepted[1:]] == ["completed", "completed"]


def test_the_same_idempotency_key_gives_the_same_workload(http: httpx2.Client) -> None:
    request = {"runtime": "node", "code": "export default () => Math.random()"}
    headers = {"Idempotency-Key": "once-and-no-more"}
    first, again = (http.post("/v1/workloads", json=request, headers=headers).json() for _ in range(2))
    assert (first["id"], first["output"]) == (again["id"], again["output"])
    other = http.post("/v1/workloads", json={**request, "code": "2"}, headers=headers)
    assert (other.status_code, other.json()["reason"]) == (409, "idempotency_conflict")


def test_many_with_one_idempotency_key_at_once_run_once(server: Server) -> None:
    answers: list[str] = []

    def post() -> None:
        with server.client() as http:
            answer = http.post(
                "/v1/workloads/async",
                json={"runtime": "node", "code": "1"},
                headers={"Idempotency-Key": "all-at-once"},
            )
            answers.append(answer.json()["id"])

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len(set(answers)) == 1


def test_lists_are_newest_first_and_pages_join_without_gaps(http: httpx2.Client) -> None:
    ids = [run(http, code="1", labels={"list": "yes"})["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, str] = {"label": "list=yes", "limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/workloads", params=params).json()
        assert (page["total"], page["limit"]) == (7, 3)
        seen += [workload["id"] for workload in page["workloads"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_an_exception_shows_the_users_own_file_and_line(http: httpx2.Client) -> None:
    files = {
        "main.ts": "import { f } from './lib/f.ts'\nf(1)\n",
        "lib/f.ts": "\n\nexport function f(x: number) {\n  null!.y\n}\n",
    }
    done = run(http, files=files)
    assert outcome(done) == ("failed", "exception")
    assert "lib/f.ts:4" in done["error"]["message"]
    assert "main.ts:2" in done["error"]["message"]
    assert "harness" not in done["error"]["message"]


def test_a_runtime_nothing_here_can_run_says_what_is_missing(http: httpx2.Client) -> None:
    refused = http.post("/v1/workloads", json={"runtime": "python", "code": "print(1)"})
    assert (refused.status_code, refused.json()["member"]) == (422, "runtime")
    assert "gvisor" in refused.json()["detail"]
