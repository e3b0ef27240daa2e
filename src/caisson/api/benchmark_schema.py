"""The request for a benchmark as JSON Schema and OpenAPI."""

from __future__ import annotations

from typing import Any

from caisson.api.answers import JSON
from caisson.api.openapi import link
from caisson.api.request_schema import SCHEMAS

MAX_BENCHMARK_BYTES = 256 * 1024
"""A benchmark's request is kept whole in each list of benchmarks."""

BENCHMARK_REQUEST: dict[str, Any] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": f"{SCHEMAS}BenchmarkRequest"}}}}
}
BENCHMARK_LINKS = {
    "get": link("get_benchmark"),
    "cancel": link("cancel_benchmark"),
    "follow": link("follow_benchmark"),
}
"""What can be done with a benchmark in an answer."""
