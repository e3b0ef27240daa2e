"""What the endpoints answer over an engine that says yes."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from tests.unit.api.doubles import KNOWN_ID, EngineDouble, client, line, make_app

pytestmark = pytest.mark.anyio
ONE = f"/v1/workloads/{KNOWN_ID}"


async def test_a_run_answers_with_the_finished_workload(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/workloads", json={"runtime": "node", "code": "1"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json()["output"] == {"a": 1}
    assert answer.json()["created_at"] == "2026-01-02T03:04:05Z"


async def test_a_submission_is_accepted_and_tells_where_it_is(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/workloads/async", json={"runtime": "node", "code": "1"})
    assert (answer.status_code, answer.headers["Location"]) == (202, ONE)
    assert answer.json()["id"] == KNOWN_ID


async def test_listing_passes_every_filter_on(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    answer = await http.get(
        "/v1/workloads?limit=5&offset=2&cursor=c&status=failed&isolation=isolate&runtime=node&label=team%3Da"
    )
    assert answer.status_code == 200, answer.text
    (query,) = engine.queries
    assert (query.tenant, query.limit, query.offset, query.cursor) == ("default", 5, 2, "c")
    assert (query.status, query.isolation, query.runtime, query.label) == ("failed", "isolate", "node", "team=a")


@pytest.mark.parametrize(
    ("query", "status", "reason", "member"),
    [
        ("limit=0", 422, "invalid_value", "limit"),
        ("limit=101", 422, "invalid_value", "limit"),
        ("limit=many", 400, "malformed", "limit"),
        ("limit=", 400, "malformed", "limit"),
        ("limit=" + "9" * 5000, 422, "invalid_value", "limit"),
        ("offset=-1", 422, "invalid_value", "offset"),
        ("status=gone", 422, "invalid_value", "status"),
        ("isolation=jail", 422, "invalid_value", "isolation"),
        ("runtime=cobol", 422, "invalid_value", "runtime"),
        ("label=%00", 422, "invalid_value", "label"),
        ("stauts=failed", 400, "unknown_member", "stauts"),
        ("limit=5&stauts=failed&lable=a", 400, "unknown_member", "stauts"),
    ],
)
async def test_a_wrong_query_parameter_is_named(
    http: httpx2.AsyncClient, query: str, status: int, reason: str, member: str
) -> None:
    answer = await http.get(f"/v1/workloads?{query}")
    assert (answer.status_code, answer.json()["reason"], answer.json()["member"]) == (status, reason, member)


PROBES = {"/healthz", "/readyz", "/metrics"}


async def test_every_endpoint_but_probes_refuses_query_parameters_that_do_not_exist(http: httpx2.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()["paths"]
    given = {"/v1/routing": "runtime=node&"}
    asked = {(method, path) for path, item in described.items() for method in item} | {("get", "/openapi.json")}
    for method, path in asked:
        place = path.replace("{id}", KNOWN_ID).replace("{name}", "base")
        answer = await http.request(method, f"{place}?{given.get(path, '')}foo=1&bar=&b%C3%A4r")
        if path in PROBES:
            assert answer.status_code == 200, path
            continue
        problem = answer.json()
        told = (answer.status_code, problem["reason"], problem["member"])
        assert told == (400, "unknown_member", "foo"), (method, path)
        assert problem["detail"] == "there are no query parameters `foo`, `bar`, `bär`"


async def test_an_empty_query_is_none(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/workloads?", json={"runtime": "node", "code": "1"})).status_code == 200


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "301", "1e999"])
async def test_waiting_is_bounded(http: httpx2.AsyncClient, wait: str) -> None:
    assert (await http.get(f"{ONE}?wait={wait}")).status_code in (400, 422)
    assert (await http.get(f"{ONE}?wait=300")).status_code == 200


@pytest.mark.parametrize("suffix", ["", "/logs", "/logs/history"])
@pytest.mark.parametrize("workload_id", ["x", "01J00000000000000000000001", KNOWN_ID + "%0A", "%00", "\u00e9" * 300])
async def test_an_id_that_is_no_workloads_is_not_found(http: httpx2.AsyncClient, workload_id: str, suffix: str) -> None:
    answer = await http.get(f"/v1/workloads/{workload_id}{suffix}")
    assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")


async def test_a_kill_answers_with_the_workload(http: httpx2.AsyncClient) -> None:
    assert (await http.delete(ONE)).json()["id"] == KNOWN_ID


async def test_unknown_paths_and_methods_are_problems_and_tell_what_is_allowed(http: httpx2.AsyncClient) -> None:
    nowhere, wrong = await http.get("/v1/workloads/"), await http.patch(ONE)
    assert (nowhere.status_code, nowhere.headers["Content-Type"]) == (404, "application/problem+json")
    assert (wrong.status_code, wrong.headers["Content-Type"]) == (405, "application/problem+json")
    assert wrong.headers["Allow"] == "DELETE, GET"
    assert (await http.get("/v1/workloads/async")).headers["Allow"] == "POST"


async def test_history_pages_by_number(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    engine.log = [line(seq) for seq in range(4)]
    first = (await http.get(f"{ONE}/logs/history?limit=3")).json()
    assert ([entry["seq"] for entry in first["lines"]], first["next_seq"]) == ([0, 1, 2], 2)
    second = (await http.get(f"{ONE}/logs/history?limit=3&after={first['next_seq']}")).json()
    assert ([entry["seq"] for entry in second["lines"]], second["next_seq"]) == ([3], 3)


async def test_history_as_text_is_the_whole_log(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    engine.log = [line(seq, f"l{seq}") for seq in range(25_000)]
    answer = await http.get(f"{ONE}/logs/history", headers={"Accept": "text/plain"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "".join(f"l{seq}\n" for seq in range(25_000))


async def test_history_as_text_keeps_to_a_limit(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    engine.log = [line(seq, f"l{seq}") for seq in range(9)]
    answer = await http.get(f"{ONE}/logs/history?after=1&limit=2", headers={"Accept": "text/plain"})
    assert answer.text == "l2\nl3\n"


async def test_ready_only_when_the_engine_is(tmp_path: Path) -> None:
    for problem, status in ((None, 200), ("the store is closed", 503)):
        async with client(make_app(EngineDouble(problem=problem), tmp_path)) as http:
            answer = await http.get("/readyz")
            assert answer.status_code == status
            assert (await http.get("/healthz")).status_code == 200
    assert answer.json()["detail"] == "the store is closed"
    assert answer.json()["reason"] == "not_ready"


async def test_metrics_are_in_prometheus_format(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")


async def test_the_description_covers_every_endpoint_and_refers_to_nothing_missing(http: httpx2.AsyncClient) -> None:
    text = (await http.get("/openapi.json")).text
    described = json.loads(text)
    operations = {f"{method.upper()} {path}" for path, item in described["paths"].items() for method in item}
    assert operations == {
        "POST /v1/workloads",
        "POST /v1/workloads/async",
        "GET /v1/workloads",
        "GET /v1/workloads/{id}",
        "DELETE /v1/workloads/{id}",
        "GET /v1/workloads/{id}/logs",
        "GET /v1/workloads/{id}/logs/history",
        "GET /v1/workloads/{id}/spec",
        "GET /v1/events",
        "GET /v1/routing",
        "GET /v1/backends",
        "GET /v1/doctor",
        "GET /v1/nodes",
        "GET /v1/nodes/{id}",
        "GET /v1/stats",
        "GET /v1/audit",
        "POST /v1/benchmarks",
        "GET /v1/benchmarks",
        "GET /v1/benchmarks/{id}",
        "DELETE /v1/benchmarks/{id}",
        "GET /v1/benchmarks/{id}/events",
        "GET /v1/images",
        "POST /v1/images/{name}/build",
        "POST /v1/images/{name}/pull",
        "GET /v1/images/jobs/{id}",
        "DELETE /v1/images/jobs/{id}",
        "GET /v1/images/jobs/{id}/events",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= set(described["components"]["schemas"])
