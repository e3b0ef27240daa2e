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
from caisson.answers import BackendView, LogPage, NodeView, Problem, Stats, WorkloadPage
from caisson.api.answers import JSON, Done, Health
from caisson.api.problems import MEDIA_TYPE as PROBLEM
from caisson.api.submissions import IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_PATTERN, MULTIPART
from caisson.api.validation import CODE_MEMBERS
from caisson.model import LogLine, Runtime, Workload, WorkloadSpec

EVENT_STREAM = "text/event-stream"
SCHEMAS = "#/components/schemas/"
DESCRIBED = (WorkloadSpec, Workload, WorkloadPage, LogPage, BackendView, NodeView, Stats, Health, Done, Problem)
WORKLOAD_ID: dict[str, Any] = {"pattern": r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "A workload's id, a ULID."}
GZIP = "application/gzip"
ARCHIVE_FORMAT = "tar-gz"
ARCHIVE_PART = "WithArchivePart"
ALWAYS = (400, 401, 403)
"""Refusals of the listener, which every endpoint can be answered with."""

_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_GZIP_MAGIC = "H4sI"
"""Base64 of the three bytes that every gzip file begins with."""
_NULL = {"type": "null"}
_HEADERS: dict[str, dict[str, Any]] = {
    "Location": {"description": "Where the workload can be read.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "How to present a key.", "schema": {"type": "string"}},
}
_PROBLEM_HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After",)}
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


def _link(operation_id: str) -> dict[str, Any]:
    return {"operationId": operation_id, "parameters": {"id": "$response.body#/id"}}


LINKS = {
    "get": _link("get_workload"),
    "kill": _link("kill_workload"),
    "follow": _link("follow_logs"),
    "history": _link("read_logs"),
}
"""What can be done with a workload in an answer."""

SUBMISSION: dict[str, Any] = {
    "parameters": [
        {
            "name": IDEMPOTENCY_KEY,
            "in": "header",
            "description": "A request sent again with the same key is not carried out again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": IDEMPOTENCY_KEY_PATTERN},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": f"{SCHEMAS}WorkloadSpec"}},
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"$ref": f"{SCHEMAS}WorkloadSpec{ARCHIVE_PART}"},
                        "archive": {"type": "string", "contentMediaType": GZIP},
                    },
                    "required": ["spec", "archive"],
                    "additionalProperties": False,
                },
                "encoding": {
                    "spec": {"contentType": JSON},
                    "archive": {"contentType": GZIP},
                },
            },
        },
    },
}

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
    schemas |= _spec_variants(schemas["WorkloadSpec"])
    described["components"] = {"schemas": schemas, "securitySchemes": _SECURITY}
    described["security"] = [{name: []} for name in _SECURITY] + ([] if keys_needed else [{}])
    for path in described["paths"].values():
        for details in path.values():
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


def _spec_variants(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec in each form it can have: code comes in exactly one way, and not every runtime takes every way."""
    languages = [str(runtime) for runtime in Runtime if runtime not in (Runtime.WASM, Runtime.OCI)]
    modules = [str(Runtime.WASM)]
    module = {"type": "string", "contentEncoding": "base64", "pattern": rf"^{_BASE64}$(?!\n)"}
    archive = {
        **module,
        "contentMediaType": GZIP,
        "format": ARCHIVE_FORMAT,
        "pattern": rf"^{_GZIP_MAGIC}{_BASE64}$(?!\n)",
    }
    forms = {
        "WithCode": _form(spec, languages, "code"),
        "WithModule": _form(spec, modules, "code", module),
        "WithFiles": _form(spec, languages, "files"),
        "WithCodeArchive": _form(spec, languages + modules, "code_archive", archive),
        "WithImage": _form(spec, [str(Runtime.OCI)], "image"),
        ARCHIVE_PART: _form(spec, languages + modules, None),
    }
    named = {f"WorkloadSpec{name}": form | {"title": f"WorkloadSpec{name}"} for name, form in forms.items()}
    choice = [{"$ref": SCHEMAS + name} for name in named if name != f"WorkloadSpec{ARCHIVE_PART}"]
    whole = {"title": spec["title"], "description": spec["description"], "oneOf": choice}
    return {"WorkloadSpec": whole, **named}


def _form(
    spec: Mapping[str, Any], runtimes: list[str], member: str | None, schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The spec for some runtimes whose code is in `member`; the other members for code may only be null."""
    properties = dict(spec["properties"]) | {"runtime": {"type": "string", "enum": runtimes}}
    for name in (*CODE_MEMBERS, "command"):
        if name == member:
            options = [option for option in properties[name]["anyOf"] if option != _NULL]
            properties[name] = dict(schema or options[0])
        elif name != "command" or member != "image":
            properties[name] = _NULL
    required = ["runtime"] if member is None else ["runtime", member]
    return {**spec, "properties": properties, "required": required}
