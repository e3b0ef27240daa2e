"""The model's shapes as Python users want them: a workload's output is a Python object, not bytes."""

from __future__ import annotations

from typing import Any, TypedDict

from msgspec import Struct

from caisson import model


class Workload(model.Workload, frozen=True, kw_only=True):
    """A workload; `output` is whatever the program's JSON decodes to."""

    output: Any = None


class Page(Struct, frozen=True, kw_only=True):
    """A page of workloads, newest first. `next_cursor` is None on the last page."""

    workloads: list[Workload]
    total: int
    next_cursor: str | None
    limit: int
    offset: int


class Filters(TypedDict, total=False):
    """Which workloads to list. `label` is `name` or `name=value`."""

    status: str | None
    isolation: str | None
    runtime: str | None
    label: str | None
