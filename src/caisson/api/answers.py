"""Builds answers from the model's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from caisson.model import Reason, Status

JSON = "application/json"


class Health(Struct, frozen=True):
    """A server that answers."""

    status: str


class Done(Struct, frozen=True):
    """The end of a log stream: how its workload ended."""

    status: Status
    exit_code: int | None
    reason: Reason | None


_encode = msgspec.json.Encoder().encode


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON. Never cached: everything the API tells changes."""
    return Response(_encode(value), status, {"Cache-Control": "no-store", **(headers or {})}, JSON)
