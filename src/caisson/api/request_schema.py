"""The request for a run as JSON Schema and OpenAPI: which members exclude each other, and the two ways to send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caisson.api.answers import JSON
from caisson.api.multipart import ARCHIVE, SPEC
from caisson.api.submissions import IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_PATTERN, MULTIPART
from caisson.api.validation import CODE_MEMBERS
from caisson.model import Runtime

SCHEMAS = "#/components/schemas/"
GZIP = "application/gzip"
ARCHIVE_FORMAT = "tar-gz"
ARCHIVE_PART = "WithArchivePart"

_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_GZIP_MAGIC = "H4sI"
"""Base64 of the three bytes that every gzip file begins with."""
_NULL = {"type": "null"}

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
                        SPEC: {"$ref": f"{SCHEMAS}WorkloadSpec{ARCHIVE_PART}"},
                        ARCHIVE: {"type": "string", "contentMediaType": GZIP},
                    },
                    "required": [SPEC, ARCHIVE],
                    "additionalProperties": False,
                },
                "encoding": {
                    SPEC: {"contentType": JSON},
                    ARCHIVE: {"contentType": GZIP},
                },
            },
        },
    },
}


STORED_SPEC: dict[str, Any] = {
    "anyOf": [{"$ref": f"{SCHEMAS}WorkloadSpec"}, {"$ref": f"{SCHEMAS}WorkloadSpec{ARCHIVE_PART}"}]
}
"""A spec as it is kept, whose code may have come in an archive beside it."""


def spec_forms(spec: Mapping[str, Any]) -> dict[str, Any]:
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


def benchmark_form(request: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's request: its workload has its code in the request, not in an archive."""
    forms = [{"$ref": f"{SCHEMAS}WorkloadSpec{name}"} for name in ("WithCode", "WithModule", "WithFiles", "WithImage")]
    properties = {**request["properties"], "workload": {"oneOf": [*forms, {"type": "null"}], "default": None}}
    return {**request, "properties": properties}


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
