"""Short forms for running workloads and reading what is said about them, over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2

Answer = dict[str, Any]


def run(http: httpx2.Client, **spec: Any) -> Answer:
    """Run a workload, JavaScript unless said otherwise, and return the finished workload."""
    answer = http.post("/v1/workloads", json={"runtime": "node", **spec})
    assert answer.status_code == 200, answer.text
    finished: Answer = answer.json()
    return finished


def submit(http: httpx2.Client, **spec: Any) -> str:
    """Hand in a workload and return its id."""
    answer = http.post("/v1/workloads/async", json={"runtime": "node", **spec})
    assert answer.status_code == 202, answer.text
    accepted: Answer = answer.json()
    return str(accepted["id"])


def wait(http: httpx2.Client, workload_id: str, seconds: float = 60) -> Answer:
    """Wait for a terminal state and return the workload."""
    answer = http.get(f"/v1/workloads/{workload_id}", params={"wait": seconds})
    assert answer.status_code == 200, answer.text
    workload: Answer = answer.json()
    assert workload["status"] in ("completed", "failed", "killed"), workload
    return workload


def outcome(workload: Answer) -> tuple[str, str | None]:
    """Status, and the error's reason if there is one."""
    error = workload["error"]
    return workload["status"], error and error["reason"]


def logs(http: httpx2.Client, workload_id: str) -> list[Answer]:
    """Every stored log line."""
    lines: list[Answer] = []
    while page := http.get(
        f"/v1/workloads/{workload_id}/logs/history", params={"after": len(lines) - 1, "limit": 10_000}
    ).json()["lines"]:
        lines += page
    return lines


def text_of(lines: list[Answer], stream: str = "stdout") -> list[str]:
    """The text of one stream's lines."""
    return [line["line"] for line in lines if line["stream"] == stream]


def events(http: httpx2.Client, workload_id: str, last_id: int | None = None) -> Iterator[tuple[str, Answer]]:
    """Events of a log stream as they come: `("line", data)`, and `("done", data)` at the end."""
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    with http.stream("GET", f"/v1/workloads/{workload_id}/logs", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        kind = "line"
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
                kind = "line"
