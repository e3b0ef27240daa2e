"""After a restart: what was unfinished either runs again, or is told to be lost. Nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from caisson.model import Reason, Status, Workload, WorkloadError, WorkloadSpec
from caisson.store.records import Stored


def runs_again(stored: Stored, spec: WorkloadSpec) -> bool:
    """True if somebody may still ask for the result, and user code certainly has not begun or may begin again."""
    if stored.attached:
        return False
    if stored.workload.status is Status.PENDING:
        return True
    return begins_anew(spec, stored.workload.attempts, Reason.NODE_LOST)


def begins_anew(spec: WorkloadSpec, attempts: int, reason: Reason | None) -> bool:
    """True if a workload that was begun `attempts` times, and ended for this reason, is to be begun once more.

    Only where the program had no part in it; and where its code may have begun, only if it says that this does no harm.
    """
    if attempts > spec.retries:
        return False
    return reason is Reason.START_FAILED or (spec.idempotent and reason in (Reason.SANDBOX_CRASHED, Reason.NODE_LOST))


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
