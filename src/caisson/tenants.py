"""Tenants, and what is noted of what people did: the nouns of `caisson tenants` and `/v1/audit`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from caisson.model import Isolation


class TenantPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant may use; null is no limit.

    `concurrent` and `mem_mb` are of all its workloads that wait or run; `cpu_s_per_day` is of those that ended within
    24 hours. One image more is fetched from a registry while those its workloads had fetched, and that are still here,
    take less than `image_mb`. `weight` is its share of the places when there are too few. `least_isolation` is the
    weakest its workloads may have.
    """

    weight: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    concurrent: Annotated[int, Meta(ge=0)] | None = None
    per_minute: Annotated[int, Meta(ge=1)] | None = None
    cpu_s_per_day: Annotated[float, Meta(ge=0)] | None = None
    mem_mb: Annotated[int, Meta(ge=0)] | None = None
    image_mb: Annotated[int, Meta(ge=0)] | None = None
    least_isolation: Isolation | None = None


ANYBODY = TenantPolicy()
"""What counts for a tenant that nothing was said of."""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """Who did what, and when.

    `actor` is the prefix of an API key, `local` for whoever needs none, or `command` for one on the server's machine.
    """

    at: datetime
    tenant: str
    actor: str
    action: str
    target: str
    detail: str | None = None


class AuditRow(AuditEntry, frozen=True, kw_only=True):
    """An entry with its number; numbers rise and are never used again."""

    seq: int


class AuditPage(Struct, frozen=True, kw_only=True):
    """A page of the audit log, newest first. `next_before` is what to pass as `before` for the following page."""

    entries: list[AuditRow]
    next_before: int | None
