"""Workloads in any state, made up for tests of what keeps them."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from caisson.engine.ids import IdMaker
from caisson.model import (
    Isolation,
    IsolationChoice,
    LogLine,
    Reason,
    Runtime,
    StartKind,
    Status,
    Stream,
    Timings,
    Workload,
    WorkloadError,
    WorkloadSpec,
)
from caisson.store.records import LogChunk, NewWorkload

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
new_id = IdMaker()


def noise(length: int) -> str:
    """Text that no compression makes much smaller, the same each time."""
    return "".join(Random(length).choices(string.printable, k=length))


def accepted(
    *,
    tenant: str = "default",
    code: str = "console.log(1)",
    archive: str | None = None,
    attached: bool = False,
    idempotency: tuple[str, str] | None = None,
    **members: Any,
) -> NewWorkload:
    """A pending workload as the engine hands it to the store."""
    given: dict[str, Any] = {
        "id": new_id(),
        "status": Status.PENDING,
        "runtime": Runtime.NODE,
        "isolation": IsolationChoice.AUTO,
        "isolation_used": Isolation.ISOLATE,
        "created_at": NOON,
    }
    workload = Workload(**given | members)
    spec = msgspec.json.encode(WorkloadSpec(runtime=workload.runtime, code=code, labels=workload.labels))
    return NewWorkload(workload, tenant, spec, archive, attached, idempotency)


def running(workload: Workload) -> Workload:
    """The same, after its start."""
    return replace(
        workload, status=Status.RUNNING, start=StartKind.WARM, node_id="node-1", started_at=NOON + timedelta(seconds=1)
    )


def ended(
    workload: Workload,
    status: Status = Status.COMPLETED,
    *,
    finished_at: datetime = NOON + timedelta(seconds=2),
    total_ms: float = 2000.0,
    output: bytes = b'{"a":1}',
) -> Workload:
    """The same, after its end."""
    reasons = {Status.FAILED: Reason.EXCEPTION, Status.KILLED: Reason.KILLED_BY_USER}
    error = WorkloadError(reason=reasons[status], message="it was so") if status in reasons else None
    return replace(
        workload,
        status=status,
        error=error,
        output=Raw(output if error is None else b"null"),
        finished_at=finished_at,
        timings=Timings(total_ms=total_ms),
    )


def chunk(workload_id: str, first_seq: int, *texts: str, stream: Stream = Stream.STDOUT) -> LogChunk:
    """Consecutive log lines with these texts."""
    lines = tuple(
        LogLine(seq=seq, stream=stream, line=text, ts=NOON + timedelta(milliseconds=seq))
        for seq, text in enumerate(texts, first_seq)
    )
    return LogChunk(workload_id, first_seq, lines)
