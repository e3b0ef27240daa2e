"""Builds answers from the model's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

JSON = "application/json"


class Health(Struct, frozen=True):
    """A server that answers."""

    status: str


_encode = msgspec.json.Encoder().encode


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON. Never cached: everything the API tells changes."""
    return Response(_encode(value), status, {"Cache-Control": "no-store", **(headers or {})}, JSON)
