"""What every process needs runs out for the server: descriptors, processes, inodes. It says so, lives, and recovers."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.leaks import cgroups_naming
from tests.helpers.runs import outcome, submit, wait
from tests.helpers.scarcity import held_to_its_processes, small_file_system
from tests.helpers.server import Server, is_settled, wait_until

CODE = "export default () => 1"
TOLD = {("completed", None), ("failed", "start_failed")}
"""What may come of a workload meanwhile; never that its program was at fault."""


def ends(http: httpx2.Client, count: int) -> list[tuple[str, str | None]]:
    """What came of so many, one after the other: a line of them would wait ever longer after each failed start."""
    return [outcome(wait(http, submit(http, code=CODE))) for _ in range(count)]


def assert_recovered(http: httpx2.Client) -> None:
    wait_until(lambda: is_settled(http), "the pools to be full again", 60)
    assert set(ends(http, 2)) == {("completed", None)}


def test_without_descriptors_workloads_fail_to_start_and_the_server_recovers(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(warm_node=0, warm_wasm=0)
    pid = server.process.pid
    with server.client() as http:
        server.settle()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # As many as there are, and a few for the connections of this test.
        open_now = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 6, before[1]))
        found = set(ends(http, 3))
        assert found <= TOLD, found
        assert ("failed", "start_failed") in found
        assert http.get("/healthz").status_code == 200
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert_recovered(http)


def test_where_no_process_can_be_made_workloads_fail_to_start_and_the_server_recovers(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(warm_node=0, warm_wasm=0)
    with server.client() as http:
        server.settle()
        with held_to_its_processes(server.process.pid) as hold:
            hold()
            found = set(ends(http, 2))
            assert found <= TOLD, found
            assert ("failed", "start_failed") in found
            assert http.get("/healthz").status_code == 200
        assert_recovered(http)


def test_without_inodes_it_is_told_and_survived(start_server: Callable[..., Server], tmp_path: Path) -> None:
    data = tmp_path / "server" / "data"
    with small_file_system(data, "size=64m,nr_inodes=150"):
        server = start_server(warm_node=0, warm_wasm=0)
        fillers: list[Path] = []
        with server.client() as http:
            assert ends(http, 1) == [("completed", None)]
            # What it was in would give back its inodes only now.
            wait_until(lambda: not any((data / "node" / "isolate").iterdir()), "its sandbox to be gone", 30)
            with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - until there are none
                while True:
                    fillers.append(data / f"filler-{len(fillers)}")
                    fillers[-1].touch()
            found: list[Any] = []
            for _ in range(3):
                answer = http.post("/v1/workloads", json={"runtime": "node", "code": CODE})
                if answer.status_code == 200:
                    found.append(outcome(answer.json()))
                else:
                    found.append((answer.status_code, answer.json()["reason"]))
            assert set(found) <= {("failed", "start_failed"), (503, "storage")}, found
            assert http.get("/healthz").status_code == 200
            for filler in fillers:
                filler.unlink(missing_ok=True)
            assert_recovered(http)
        assert server.stop() == 0
    assert cgroups_naming(server.node_id) == []
