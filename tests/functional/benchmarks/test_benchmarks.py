"""A comparison of the isolations: measured, told as it goes on, kept, exported, ended."""

from __future__ import annotations

import csv
import io
import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.helpers.command import caisson
from tests.helpers.server import Server, free_port, wait_until

SLEEPER = {"runtime": "node", "code": "await new Promise((go) => setTimeout(go, 60_000))"}


def begin(http: httpx2.Client, **request: Any) -> str:
    """Start a benchmark; where it is."""
    answer = http.post("/v1/benchmarks", json=request)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "running"
    return answer.headers["Location"]


def events(http: httpx2.Client, path: str, after: int | None = None) -> list[tuple[str, str | None, dict[str, Any]]]:
    """All events of a benchmark to its end: name, id, data."""
    found, name, number = [], "message", None
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with http.stream("GET", f"{path}/events", headers=headers) as stream:
        for line in stream.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                number = value
            elif field == "data":
                found.append((name, number, json.loads(value)))
                name, number = "message", None
    return found


def test_every_sample_is_told_kept_and_exported(http: httpx2.Client) -> None:
    path = begin(http, runtimes=["node"], runs=2, clients=2)
    told = events(http, path)
    results = [data for name, _, data in told if name == "result"]
    assert [number for name, number, _ in told if name == "result"] == [str(index) for index in range(len(results))]
    assert told[-1] == ("done", None, {"status": "completed", "error": None})
    progress = [data["done"] for name, _, data in told if name == "progress"]
    assert progress == sorted(progress)
    kept = http.get(path).json()
    assert kept["results"] == results
    assert (kept["status"], kept["progress"]["done"]) == ("completed", kept["progress"]["total"])
    assert kept["host"]["isolations"] == "isolate"

    by_measure = {(r["program"], r["subject"], r["measure"]): r for r in results}
    for measure in ("cold_start", "warm_start", "execution", "round_trip", "overhead"):
        result = by_measure["hello", "isolate", measure]
        assert len(result["samples"]) == 2, result
        assert result["spread"]["min"] == min(result["samples"])
    assert len(by_measure["hello", "isolate", "throughput"]["samples"]) == 3
    assert len(by_measure["hello", "process", "round_trip"]["samples"]) == 2
    assert "snapshot" in by_measure["hello", "isolate", "restored_start"]["note"]

    assert [data for name, _, data in events(http, path, after=3) if name == "result"] == results[4:]
    answer = http.get(path, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["measure"] for row in rows] == [result["measure"] for result in results]
    assert [float(sample) for sample in rows[0]["samples"].split()] == results[0]["samples"]
    listed = http.get("/v1/benchmarks").json()["benchmarks"][0]
    assert listed == {name: value for name, value in kept.items() if name != "results"}
    runs = http.get("/v1/workloads", params={"label": f"benchmark={kept['id']}", "limit": 100}).json()
    assert {run["status"] for run in runs["workloads"]} == {"completed"}


def test_one_at_a_time_and_cancelled_when_its_workload_is_dead(http: httpx2.Client) -> None:
    path = begin(http, workload=SLEEPER)
    second = http.post("/v1/benchmarks", json={})
    assert (second.status_code, second.json()["reason"]) == (409, "conflict")
    label = {"label": f"benchmark={path.rpartition('/')[2]}"}
    wait_until(
        lambda: [w["status"] for w in http.get("/v1/workloads", params=label).json()["workloads"]] == ["running"],
        "its workload to run",
        20,
    )
    cancelled = http.delete(path).json()
    assert (cancelled["status"], cancelled["error"]) == ("cancelled", None)
    assert [w["status"] for w in http.get("/v1/workloads", params=label).json()["workloads"]] == ["killed"]
    assert events(http, path)[-1][2]["status"] == "cancelled"
    again = http.delete(path)
    assert (again.status_code, again.json()["reason"]) == (409, "conflict")


def test_what_a_user_sent_never_runs_outside_a_sandbox(http: httpx2.Client, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    code = f"try {{ Deno.writeTextFileSync({str(proof)!r}, 'out'); }} catch {{ }}"
    path = begin(http, workload={"runtime": "node", "code": code, "labels": {"team": "a"}}, runs=1, clients=1)
    assert events(http, path)[-1][2] == {"status": "completed", "error": None}
    results = http.get(path).json()["results"]
    assert {result["subject"] for result in results} == {"isolate"}
    assert [r["note"] for r in results if r["measure"] == "overhead"] == ["there is no process to compare it with"]
    assert not proof.exists()


def test_a_workload_that_fails_everywhere_is_told_with_its_reason(http: httpx2.Client) -> None:
    path = begin(http, workload={"runtime": "node", "code": "throw new Error('on purpose')"}, runs=1)
    status = events(http, path)[-1][2]
    assert status["status"] == "failed"
    assert "exception" in status["error"]
    assert all("exception" in result["note"] for result in http.get(path).json()["results"])


def test_what_cannot_be_compared_is_refused_with_the_member_at_fault(http: httpx2.Client) -> None:
    def refused(body: dict[str, Any]) -> tuple[int, str, str]:
        answer = http.post("/v1/benchmarks", json=body)
        return answer.status_code, answer.json()["reason"], answer.json()["member"]

    assert refused({"runs": 0}) == (422, "invalid_value", "runs")
    assert refused({"workload": {"runtime": "node"}}) == (422, "invalid_value", "workload.code")
    assert refused({"workload": {"runtime": "node", "code": 1}}) == (400, "malformed", "workload.code")
    assert refused({"workload": {"runtime": "wasm", "code": "?"}}) == (422, "invalid_value", "workload.code")
    assert refused({"workload": {**SLEEPER, "cpu": 1}}) == (400, "unknown_member", "workload.cpu")
    assert refused({"workload": {"runtime": "node", "code_archive": "H4sI"}})[2] == "workload.code_archive"
    assert refused({"isolations": ["microvm"]}) == (422, "unsupported", "isolations")
    assert refused({"runtimes": ["oci"]}) == (422, "unsupported", "runtimes")
    assert refused({"samples": 3}) == (400, "unknown_member", "samples")
    large = http.post("/v1/benchmarks", json={"workload": {"runtime": "node", "code": " " * 300_000}})
    assert large.status_code == 413


def test_one_that_was_cut_off_by_a_crash_is_failed_and_keeps_what_it_had(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    first = start_server("data", warm_wasm=0)
    with first.client() as http:
        path = begin(http, runtimes=["node"], runs=200)
        wait_until(lambda: len(http.get(path).json()["results"]) > 0, "its first result", 60)
    first.signal(signal.SIGKILL)
    first.wait()
    with start_server("data", node_id=first.node_id).client() as http:
        found = http.get(path).json()
        assert (found["status"], found["error"]) == ("failed", "the server ended while it ran")
        assert found["results"][0]["subject"] == "process"
        assert [event[0] for event in events(http, path)] == ["result"] * len(found["results"]) + ["done"]
        begin(http, runtimes=["node"], runs=1)


def test_a_tenant_sees_only_its_own(start_server: Callable[..., Server], tmp_path: Path) -> None:
    data = tmp_path / "server" / "data"
    keys = [
        caisson("keys", "create", "--tenant", name, "--data-dir", data, cwd=tmp_path).stdout.strip() for name in "ab"
    ]
    port = free_port()
    start_server(listen=f"0.0.0.0:{port}")
    ours, theirs = (
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, trust_env=False) for key in keys
    )
    with ours, theirs:
        path = begin(ours, workload=SLEEPER)
        for answer in (theirs.get(path), theirs.delete(path), theirs.get(f"{path}/events")):
            assert answer.status_code == 404
        assert theirs.get("/v1/benchmarks").json()["total"] == 0
        assert ours.delete(path).json()["status"] == "cancelled"


def test_the_command_runs_one_and_prints_how_to_run_it_again(server: Server, tmp_path: Path) -> None:
    def bench(*options: str) -> Any:
        return caisson("bench", *options, cwd=tmp_path, CAISSON_API=server.url)

    done = bench("--runtime", "wasm", "--runs", "1", "--clients", "1", "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["command"] == "caisson bench --runtime wasm --runs 1 --clients 1"
    shown = bench("--show", found["id"])
    assert "cold start" in shown.stdout
    assert found["command"] in shown.stdout
    assert bench("--show", found["id"], "--csv").stdout.startswith("benchmark,program,")
    assert found["id"] in bench("--list").stdout

    own = json.dumps(
        {"workload": {"runtime": "node", "code": "export default () => 'it\\'s'"}, "runs": 1, "clients": 1}
    )
    first = json.loads(bench("--request", own, "--json").stdout)
    words = shlex.split(first["command"])
    assert words[:2] == ["caisson", "bench"]
    again = json.loads(bench(*words[2:], "--json").stdout)
    assert again["request"] == first["request"]
    assert bench("--request", '{"runs": 0}').code == 2
    assert bench("--isolation", "microvm").code == 3
