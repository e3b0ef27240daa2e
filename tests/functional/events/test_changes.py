"""What changes is told as it happens, to whom it belongs, and what would be chosen is what is chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2

SPEC = {"runtime": "node", "code": "export default (n) => n + 1", "input": 1, "env": {"A": "b"}, "labels": {"x": "y"}}


def events(stream: httpx2.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_a_workload_is_told_of_until_its_end_and_without_its_output(http: httpx2.Client) -> None:
    with http.stream("GET", "/v1/events?seconds=20") as stream:
        told = events(stream)
        name, load = next(told)
        assert name == "load"
        assert set(load) == {"queued", "running", "pools"}
        accepted = http.post("/v1/workloads/async", json=SPEC).json()
        states: list[str] = []
        for name, data in told:
            if name == "changed":
                assert data["missed"] is False
                states += [w["status"] for w in data["workloads"] if w["id"] == accepted["id"] and "output" not in w]
                if "completed" in states:
                    break
    assert states == sorted(set(states), key=["pending", "running", "completed"].index)


def test_a_stream_of_changes_ends_when_it_was_asked_to(http: httpx2.Client) -> None:
    with http.stream("GET", "/v1/events?seconds=0.2") as stream:
        names = [name for name, _ in events(stream)]
    assert names[0] == "load"


def test_what_was_asked_for_can_be_read_again(http: httpx2.Client) -> None:
    done = http.post("/v1/workloads", json=SPEC).json()
    spec = http.get(f"/v1/workloads/{done['id']}/spec").json()
    assert {name: spec[name] for name in SPEC} == SPEC
    again = http.post("/v1/workloads", json=spec).json()
    assert again["output"] == done["output"] == 2


def test_the_preview_says_what_a_submission_gets(http: httpx2.Client) -> None:
    preview = http.get("/v1/routing?runtime=node").json()
    done = http.post("/v1/workloads", json=SPEC).json()
    assert (preview["isolation"], preview["reason"]) == (done["isolation_used"], done["routing"])
    assert {option["isolation"] for option in preview["options"]} == {"isolate", "gvisor", "microvm"}
    refused = http.get("/v1/routing?runtime=wasm&isolation=microvm").json()
    assert refused["isolation"] is None
    assert [option["possible"] for option in refused["options"] if option["isolation"] == "microvm"] == [False]
