"""Every call of the API as a value: what is sent, what the answer decodes to, and whether it may be sent twice.

Pure, so that the sync and the async client share all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Generic, TypeVar
from urllib.parse import quote

import msgspec

from caisson.answers import BackendView, LogPage, NodeView, Problem, Stats
from caisson.benchmark import Benchmark, BenchmarkPage, BenchmarkRequest
from caisson.client.errors import ApiError, BadAnswer
from caisson.client.shapes import Filters, Page, Workload
from caisson.model import WorkloadSpec
from caisson.tenants import AuditPage

T = TypeVar("T")

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that is no JSON of the wanted shape; the last for brackets nested without end."""

ANSWER_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 120.0
"""How long the server may take to check and store an uploaded archive after its last byte."""
HEARTBEAT_TIMEOUT_S = 45.0
"""Three of a log stream's heartbeats; silence for longer means that the connection is dead."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `repeatable` says that sending it twice does no more than sending it once."""

    method: str
    path: str
    answer: type[T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    archive: BinaryIO | None = None
    repeatable: bool = False
    read_timeout_s: float | None = ANSWER_TIMEOUT_S


Post = Callable[[WorkloadSpec, BinaryIO | None, str | None], Call[Workload]]


def run(spec: WorkloadSpec, archive: BinaryIO | None, idempotency_key: str | None) -> Call[Workload]:
    """Run and wait. Without a read timeout: only the server knows how long the queue is."""
    return _post("/v1/workloads", spec, archive, idempotency_key, None)


def submit(spec: WorkloadSpec, archive: BinaryIO | None, idempotency_key: str | None) -> Call[Workload]:
    """Submit without waiting."""
    return _post("/v1/workloads/async", spec, archive, idempotency_key, UPLOAD_TIMEOUT_S)


def _post(
    path: str, spec: WorkloadSpec, archive: BinaryIO | None, key: str | None, read_timeout_s: float | None
) -> Call[Workload]:
    return Call(
        "POST",
        path,
        Workload,
        headers={"Idempotency-Key": key} if key else {},
        body=msgspec.json.encode(spec),
        archive=archive,
        repeatable=key is not None,
        read_timeout_s=read_timeout_s,
    )


def get(workload_id: str, wait_s: float) -> Call[Workload]:
    """One workload, waiting up to `wait_s` for its end."""
    params = {"wait": f"{wait_s:g}"} if wait_s else {}
    return _get(_workload(workload_id), Workload, params, ANSWER_TIMEOUT_S + wait_s)


def page(filters: Filters, limit: int, cursor: str | None) -> Call[Page]:
    """A page of workloads; filters that are None are left out."""
    params = {**filters, "limit": str(limit), "cursor": cursor}
    return _get("/v1/workloads", Page, {name: str(value) for name, value in params.items() if value is not None})


def kill(workload_id: str) -> Call[Workload]:
    """Kill; never repeated by itself, for the second kill is a conflict that would hide the first one's answer."""
    return Call("DELETE", _workload(workload_id), Workload)


def follow(workload_id: str, after: int) -> Call[None]:
    """The log stream from the line after `after`."""
    return _stream(f"{_workload(workload_id)}/logs", after)


def history(workload_id: str, after: int, limit: int) -> Call[LogPage]:
    """A page of stored log lines."""
    params = {"limit": str(limit)} | ({"after": str(after)} if after >= 0 else {})
    return _get(f"{_workload(workload_id)}/logs/history", LogPage, params)


def backends() -> Call[list[BackendView]]:
    """What each isolation can do."""
    return _get("/v1/backends", list[BackendView])


def nodes() -> Call[list[NodeView]]:
    """Every node."""
    return _get("/v1/nodes", list[NodeView])


def node(node_id: str) -> Call[NodeView]:
    """One node."""
    return _get(f"/v1/nodes/{_segment(node_id)}", NodeView)


def stats() -> Call[Stats]:
    """Counts, latencies and series."""
    return _get("/v1/stats", Stats)


def audit(limit: int, before: int | None, tenant: str | None, actor: str | None, action: str | None) -> Call[AuditPage]:
    """A page of the audit log."""
    params = {"limit": limit, "before": before, "of": tenant, "actor": actor, "action": action}
    return _get("/v1/audit", AuditPage, {name: str(value) for name, value in params.items() if value is not None})


def start_benchmark(request: BenchmarkRequest) -> Call[Benchmark]:
    """Begin a benchmark; never repeated by itself, for the second one would find the first one running."""
    return Call("POST", "/v1/benchmarks", Benchmark, body=msgspec.json.encode(request))


def benchmark(benchmark_id: str) -> Call[Benchmark]:
    """One benchmark with its results so far."""
    return _get(_benchmark(benchmark_id), Benchmark)


def benchmark_page(limit: int, cursor: str | None) -> Call[BenchmarkPage]:
    """A page of benchmarks, newest first."""
    params = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
    return _get("/v1/benchmarks", BenchmarkPage, params)


def cancel_benchmark(benchmark_id: str) -> Call[Benchmark]:
    """End a benchmark; never repeated by itself, as a kill."""
    return Call("DELETE", _benchmark(benchmark_id), Benchmark)


def follow_benchmark(benchmark_id: str, after: int) -> Call[None]:
    """The stream of a benchmark from the result behind `after`."""
    return _stream(f"{_benchmark(benchmark_id)}/events", after)


def health() -> Call[msgspec.Raw]:
    """Whether the server is ready. Never repeated: `not yet` is the answer that was asked for."""
    return Call("GET", "/readyz", msgspec.Raw)


def _get(
    path: str, answer: type[T], params: Mapping[str, str] | None = None, read_s: float = ANSWER_TIMEOUT_S
) -> Call[T]:
    return Call("GET", path, answer, params=params or {}, repeatable=True, read_timeout_s=read_s)


def _stream(path: str, after: int) -> Call[None]:
    return Call(
        "GET",
        path,
        type(None),
        headers={"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after >= 0 else {}),
        repeatable=True,
        read_timeout_s=HEARTBEAT_TIMEOUT_S,
    )


def _benchmark(benchmark_id: str) -> str:
    return f"/v1/benchmarks/{_segment(benchmark_id)}"


def _workload(workload_id: str) -> str:
    return f"/v1/workloads/{_segment(workload_id)}"


def _segment(text: str) -> str:
    return quote(text, safe="")


def decode(call: Call[T], url: str, status: int, headers: Mapping[str, str], content: bytes) -> T:
    """The answer's value. Raises ApiError for a refusal, BadAnswer for what is not an answer of this API."""
    if status >= 400:
        raise refusal(status, headers, content)
    if not 200 <= status < 300:
        raise BadAnswer(url, f"status {status}, where an answer was expected")
    try:
        return msgspec.json.decode(content, type=call.answer)
    except NOT_JSON as error:
        raise BadAnswer(url, str(error)) from error


def refusal(status: int, headers: Mapping[str, str], content: bytes) -> ApiError:
    """The error that a refusing answer stands for; its text as it is where it is no problem document."""
    wait = headers.get("Retry-After", "")
    retry_after_s = int(wait) if wait.isascii() and wait.isdigit() else None
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except NOT_JSON:
        text = content[:500].decode("utf-8", "replace").strip() or "no explanation given"
        return ApiError(status, None, text, retry_after_s=retry_after_s)
    return ApiError(status, problem.reason, problem.detail, member=problem.member, retry_after_s=retry_after_s)
