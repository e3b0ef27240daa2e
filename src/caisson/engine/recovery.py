"""After a restart: what was unfinished either runs again, or is told to be lost. Nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from caisson.model import Reason, Status, Workload, WorkloadError
from caisson.store.records import Stored


def runs_again(stored: Stored) -> bool:
    """True if user code certainly has not begun and somebody may still ask for the result."""
    return stored.workload.status is Status.PENDING and not stored.attached


def lost(stored: Stored) -> Workload:
    """The terminal state of an unfinished workload that does not run again."""
    if stored.workload.status is Status.PENDING:
        message = "the server stopped before the workload began, and with it the connection that waited for the result"
    else:
        message = "the server stopped while the workload was running; how far it got is not known"
    return replace(
        stored.workload,
        status=Status.FAILED,
        error=WorkloadError(reason=Reason.NODE_LOST, message=message),
        finished_at=datetime.now(UTC),
    )
