"""What operators look at: statistics and nodes tell the truth about what ran, waits and is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.helpers.server import Server, wait_until


def test_figures_are_of_what_ran_and_what_waits(start_server: Callable[..., Server]) -> None:
    server = start_server(max_running=2, warm_node=1, warm_wasm=0)
    with server.client() as http:

        def submit(code: str, **more: Any) -> str:
            answer = http.post("/v1/workloads/async", json={"runtime": "node", "code": code, **more})
            return str(answer.json()["id"])

        done = [http.get(f"/v1/workloads/{submit(code)}?wait=60").json() for code in ("1", "throw 1", "2")]
        held = [submit("await new Promise((go) => setTimeout(go, 60_000))", resources={"mem_mb": 128}) for _ in "abc"]
        wait_until(lambda: len(http.get("/v1/nodes").json()[0]["running"]) == 2, "two to run", 20)
        # Nodes tell what is in memory, statistics what is on disk, a flush later.
        wait_until(lambda: http.get("/v1/stats").json()["counts"]["status"]["running"] == 2, "that to be stored", 20)
        stats, node = http.get("/v1/stats").json(), http.get("/v1/nodes").json()[0]
        assert stats["counts"]["status"] == {"pending": 1, "running": 2, "completed": 2, "failed": 1, "killed": 0}
        assert stats["counts"]["runtime"]["node"] == stats["counts"]["isolation"]["isolate"] == 6
        assert (stats["queued"], stats["running"]) == (1, 2) == (node["queued"], node["used"]["workloads"])
        assert (node["used"]["mem_mb"], node["used"]["cpus"]) == (256, 2)
        assert set(node["running"]) <= set(held)
        assert node["load"]["mem_total_mb"] > node["load"]["mem_available_mb"] > 0
        assert http.get(f"/v1/nodes/{node['id']}").json()["id"] == node["id"]
        assert sum(row["count"] for row in stats["latency"]) == 3
        assert sum(p["completed"] + p["failed"] for p in stats["series"]) == 3
        slowest = max(row["p99_ms"] for row in stats["latency"])
        assert slowest == max(workload["timings"]["total_ms"] for workload in done)
        assert {row["start"] for row in stats["latency"]} == {workload["start"] for workload in done}
        assert http.get("/v1/stats", params={"window": 86_400}).json()["interval_s"] == 900
        assert http.get("/v1/stats", params={"window": 59}).status_code == 422
        for workload_id in held:
            http.delete(f"/v1/workloads/{workload_id}")


def test_the_host_is_checked_as_the_command_does_it(start_server: Callable[..., Server]) -> None:
    """What is not there has a verdict, and what would help."""
    with start_server(backends="isolate", runsc="/nowhere/runsc").client() as http:
        checks = {check["name"]: check for check in http.get("/v1/doctor").json()}
    assert checks["bubblewrap"]["verdict"] == "ok"
    assert checks["runsc"]["verdict"] == "limited"
    assert checks["runsc"]["fix"]
