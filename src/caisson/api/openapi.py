"""The OpenAPI description: made from the model and the routes, so that it cannot say anything else than they do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from caisson import __version__
from caisson.answers import (
    BackendView,
    Changed,
    HostCheck,
    ImageJob,
    ImageList,
    Load,
    LogPage,
    NodeView,
    Problem,
    Routing,
    Stats,
    WorkloadPage,
)
from caisson.api.answers import JSON, Done, Health
from caisson.api.auth import OPEN_PATHS
from caisson.api.problems import MEDIA_TYPE as PROBLEM
from caisson.api.request_schema import SCHEMAS, benchmark_form, spec_forms
from caisson.benchmark import (
    Benchmark,
    BenchmarkDone,
    BenchmarkPage,
    BenchmarkProgress,
    BenchmarkRequest,
    BenchmarkResult,
)
from caisson.model import LogLine, Workload, WorkloadSpec
from caisson.tenants import AuditPage

EVENT_STREAM = "text/event-stream"
DESCRIBED = (
    WorkloadSpec,
    Workload,
    WorkloadPage,
    LogPage,
    BackendView,
    HostCheck,
    NodeView,
    Stats,
    Routing,
    Changed,
    Load,
    Health,
    Done,
    Problem,
    BenchmarkRequest,
    Benchmark,
    BenchmarkPage,
    BenchmarkResult,
    BenchmarkProgress,
    BenchmarkDone,
    ImageList,
    ImageJob,
    AuditPage,
)
WORKLOAD_ID: dict[str, Any] = {"pattern": r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "A workload's id, a ULID."}
ALWAYS = (400, 401, 403, 429, 503)
"""Refusals of the listener and the store, which every endpoint can be answered with."""

_HEADERS: dict[str, dict[str, Any]] = {
    "Location": {"description": "Where it can be read.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "How to present a key.", "schema": {"type": "string"}},
}
_PROBLEM_HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
_SECURITY: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer of an endpoint."""

    type: Any
    """A type of the model, or a schema."""
    description: str
    media_type: str = JSON
    also: tuple[str, ...] = ()
    """Further media types, as plain text."""
    headers: tuple[str, ...] = ()
    links: Mapping[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """As an OpenAPI Response Object."""
        schema = self.type if isinstance(self.type, dict) else _reference(self.type)
        content = {self.media_type: {"schema": schema}, **{name: {"schema": {"type": "string"}} for name in self.also}}
        described: dict[str, Any] = {"description": self.description, "content": content}
        if self.headers:
            described["headers"] = {name: _HEADERS[name] | {"required": True} for name in self.headers}
        if self.links:
            described["links"] = dict(self.links)
        return described


def _reference(described: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([described], ref_template=SCHEMAS + "{name}")
    return schema


def _event(data: Any, **properties: Any) -> dict[str, Any]:
    content = {"type": "string", "contentMediaType": JSON, "contentSchema": _reference(data)}
    required = ["data", *properties]
    return {"type": "object", "properties": {"data": content, **properties}, "required": required}


LOG_EVENT: dict[str, Any] = {
    "oneOf": [
        _event(LogLine, id={"type": "string", "pattern": "^[0-9]+$"}),
        _event(Done, event={"const": "done"}),
    ]
}
"""Each event of a log stream: a line, or the end."""
CHANGE_EVENT: dict[str, Any] = {
    "oneOf": [_event(Changed, event={"const": "changed"}), _event(Load, event={"const": "load"})]
}
"""Each event of a stream of changes."""
BENCHMARK_EVENT: dict[str, Any] = {
    "oneOf": [
        _event(BenchmarkResult, event={"const": "result"}, id={"type": "string", "pattern": "^[0-9]+$"}),
        _event(BenchmarkProgress, event={"const": "progress"}),
        _event(BenchmarkDone, event={"const": "done"}),
    ]
}
"""Each event of a benchmark's stream: a result, how far it is, or the end."""

IMAGE_EVENT = _event(ImageJob, event={"enum": ["progress", "done"]})
"""Each event of the stream of a build or pull."""


def operation(
    operation_id: str,
    summary: str,
    answers: Mapping[int, Answer],
    refusals: Iterable[int] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments of a route: its description, and that its endpoint makes the whole response itself."""
    responses: dict[int | str, dict[str, Any]] = {status: answer.describe() for status, answer in answers.items()}
    responses |= {status: _describe_problem(status) for status in sorted({*ALWAYS, *refusals})}
    return {
        "operation_id": operation_id,
        "summary": summary,
        "status_code": next(iter(answers)),
        "responses": responses,
        "response_model": None,
        "response_class": Response,
        "openapi_extra": dict(extra or {}),
    }


def _describe_problem(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM: {"schema": {"$ref": f"{SCHEMAS}Problem"}}},
    }
    if headers := _PROBLEM_HEADERS.get(status):
        described["headers"] = {name: _HEADERS[name] | {"required": True} for name in headers}
    return described


def link(operation_id: str) -> dict[str, Any]:
    """What another operation can do with the id in an answer."""
    return {"operationId": operation_id, "parameters": {"id": "$response.body#/id"}}


LINKS = {
    "get": link("get_workload"),
    "kill": link("kill_workload"),
    "follow": link("follow_logs"),
    "history": link("read_logs"),
    "spec": link("get_workload_spec"),
}
"""What can be done with a workload in an answer."""

LAST_EVENT_ID: dict[str, Any] = {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The last event that was seen; the stream goes on after it.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
        }
    ]
}


def describe(app: FastAPI, *, keys_needed: bool) -> dict[str, Any]:
    """The whole description."""
    described: dict[str, Any] = get_openapi(
        title="Caisson",
        version=__version__,
        description="Runs code nobody has to trust.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    _, schemas = msgspec.json.schema_components(DESCRIBED, ref_template=SCHEMAS + "{name}")
    schemas |= spec_forms(schemas["WorkloadSpec"])
    schemas["BenchmarkRequest"] = benchmark_form(schemas["BenchmarkRequest"])
    described["components"] = {"schemas": schemas, "securitySchemes": _SECURITY}
    described["security"] = [{name: []} for name in _SECURITY] + ([] if keys_needed else [{}])
    for path, item in described["paths"].items():
        for details in item.values():
            if path in OPEN_PATHS:
                details["security"] = []
            _drop_null_parameters(details)
            _drop_foreign_problems(details)
    return described


def _drop_null_parameters(details: dict[str, Any]) -> None:
    """A parameter that may be left out is not one that may be null, which a URL cannot say."""
    for parameter in details.get("parameters", ()):
        schema = parameter["schema"]
        if "anyOf" in schema:
            schema |= next(option for option in schema.pop("anyOf") if option.get("type") != "null")


def _drop_foreign_problems(details: dict[str, Any]) -> None:
    """FastAPI adds its own form of 422 where a route has parameters and describes none."""
    responses = details["responses"]
    if JSON in responses.get("422", {}).get("content", {}):
        del responses["422"]
