"""What endpoints work with, found through the request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.requests import Request

from caisson.api.auth import Principal
from caisson.compare.service import Benchmarks
from caisson.engine.checks import HostChecks
from caisson.engine.engine import Engine
from caisson.images.jobs import ImageJobs
from caisson.store.store import Store
from caisson.tenants import AuditEntry


@dataclass(frozen=True, slots=True)
class Services:
    """Set once by `create_app`."""

    engine: Engine
    store: Store
    benchmarks: Benchmarks
    images: ImageJobs
    host: HostChecks
    data_dir: Path
    registry: CollectorRegistry


def services(request: Request) -> Services:
    """The application's services."""
    found: Services = request.app.state.services
    return found


def principal(request: Request) -> Principal:
    """On whose behalf the request is, and what it may do."""
    found: Principal = request.state.principal
    return found


def tenant(request: Request) -> str:
    """On whose behalf the request is."""
    return principal(request).tenant


def note(request: Request, action: str, target: str) -> None:
    """Add to the audit log what was done on the request's behalf."""
    who = principal(request)
    services(request).store.note(
        AuditEntry(at=datetime.now(UTC), tenant=who.tenant, actor=who.actor, action=action, target=target)
    )
