"""Behind a reverse proxy, set up as the guide says, everything works as it does without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.helpers.nginx import NGINX, proxied
from tests.helpers.server import Server

SPEAKS_THEN_WAITS = "console.log('first'); await new Promise((done) => setTimeout(done, 600_000))"


@pytest.fixture
def proxy(server: Server, tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client that reaches the shared server through nginx."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    with proxied(server.url, tmp_path) as url, httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


def test_a_line_passes_while_its_workload_still_runs(proxy: httpx2.Client) -> None:
    spec = {"runtime": "node", "code": SPEAKS_THEN_WAITS, "resources": {"timeout_s": 600}}
    accepted = proxy.post("/v1/workloads/async", json=spec).json()
    with proxy.stream("GET", f"/v1/workloads/{accepted['id']}/logs") as stream:
        events = stream.iter_lines()
        first = next(line for line in events if line.startswith("data:"))
        assert json.loads(first.removeprefix("data:"))["line"] == "first"
        assert proxy.delete(f"/v1/workloads/{accepted['id']}").json()["status"] == "killed"
        assert "event: done" in list(events)


def test_a_large_upload_passes(proxy: httpx2.Client) -> None:
    # Above nginx's default limit of 1 MB, below the server's 15 MB for JSON.
    spec = {"runtime": "node", "code": "export default (text) => text.length", "input": "x" * 5_000_000}
    assert proxy.post("/v1/workloads", json=spec).json()["output"] == 5_000_000
