"""What goes into the store and comes out of it, besides the model's own nouns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from caisson.model import Isolation, IsolationChoice, LogLine, Runtime, StartKind, Status, Workload


@dataclass(frozen=True, slots=True)
class NewWorkload:
    """A workload on acceptance.

    `spec` is its WorkloadSpec as JSON, `archive` the name of a file in the uploads folder. A client waits for an
    `attached` one, so it is never run again after a restart. `idempotency` is the key and the request's fingerprint.
    """

    workload: Workload
    tenant: str
    spec: bytes
    archive: str | None
    attached: bool
    idempotency: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Consecutive log lines, stored as one row. `first_seq` is the number of the first."""

    workload_id: str
    first_seq: int
    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A workload with everything needed to run it again."""

    workload: Workload
    tenant: str
    spec: bytes
    archive: str | None
    attached: bool


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which workloads of a tenant to list, newest first.

    `isolation` is the one that was used; `auto` finds those that asked for it. `label` is `name` or `name=value`.
    """

    tenant: str
    limit: int = 20
    offset: int = 0
    cursor: str | None = None
    status: Status | None = None
    isolation: IsolationChoice | None = None
    runtime: Runtime | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The figures of one finished workload that had a sandbox."""

    status: Status
    isolation: Isolation
    start: StartKind
    finished_at: datetime
    total_ms: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed: finished workloads by age, logs of others by size, idempotency keys, entries of
    the audit log, and benchmarks."""

    workloads: int
    logs: int
    idempotency_keys: int
    audit: int = 0
    benchmarks: int = 0


class KeyScope(StrEnum):
    """What an API key may be used for; `admin` includes the others."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret: `digest` is the SHA-256 of the key in hex, `prefix` what people know it by."""

    digest: str
    prefix: str
    tenant: str
    scopes: frozenset[KeyScope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def valid(self, now: datetime) -> bool:
        """True if it may be used at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
