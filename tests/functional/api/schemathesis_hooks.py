"""What schemathesis must be told of this API: how archives look, and which refusals no JSON Schema can foresee."""

from __future__ import annotations

import base64
import io
import tarfile
from typing import Any

import schemathesis
from hypothesis import strategies as st

BEYOND_SCHEMAS = {
    "unsupported": "what this host can run",
    "bad_archive": "what is in an archive",
    "cursor": "cursors are made by the server",
    "entrypoint": "which of several files is to be run must be clear, and it must be there",
    "files": "no file is another one's folder",
    "network.allow": "what is an address or a host name",
    "resources.mem_mb": "not more memory than there is",
}
"""Reasons and members of refusals that a schema cannot foresee, and what they are about."""
IMAGES = {"base", "python", "node", "go", "kernel", "kernel-cloud"}
"""To build one takes minutes and the network; test_images.py tests it."""


Case = schemathesis.Case[Any]


def _pack(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


archives = st.builds(_pack, st.sampled_from(["main.ts", "main.wasm", "lib/x.js", "data.txt"]), st.binary(max_size=50))
schemathesis.openapi.media_type("application/gzip", archives)
schemathesis.openapi.format("tar-gz", archives.map(lambda data: base64.b64encode(data).decode()))


def _fits_the_schema(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: Case) -> bool:
    """Its coverage phase leaves a required part empty where another part has a strategy, and calls that valid."""
    if case.path.startswith("/v1/images/") and (case.path_parameters or {}).get("name") in IMAGES:
        return False
    return not (_fits_the_schema(case) and isinstance(case.body, dict) and case.body.get("spec") == "")


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """A stream that is asked for without an end has none soon enough for a test."""
    if case.path == "/v1/events" and _fits_the_schema(case):
        case.query = {**(case.query or {}), "seconds": 0.05}


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Benchmarks of a few runs, so that following one does not take minutes. What is no number stays what it is."""
    if context.operation is not None and context.operation.path == "/v1/benchmarks" and isinstance(body, dict):
        few = {"runs": 1, "clients": 1}
        return {name: few[name] if name in few and _is_count(value) else value for name, value in body.items()} | {
            name: count for name, count in few.items() if name not in body
        }
    return body


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 64


@schemathesis.check
def refused_only_for_what_no_schema_can_say(ctx: Any, response: schemathesis.Response, case: Case) -> None:
    """A request that fits the schema may still be impossible: here, or by a rule between its members."""
    if _fits_the_schema(case) and response.status_code in (400, 422):
        problem = response.json()
        member = problem.get("member", "").partition("[")[0].removeprefix("workload.")
        expected = problem["reason"] in BEYOND_SCHEMAS or member in BEYOND_SCHEMAS
        assert expected, f"refused though it fits the schema: {problem}"
