"""How a workload ended is what `caisson run` ends with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from caisson.cli.run import exit_code
from caisson.client import Workload
from caisson.model import KILL_REASONS, IsolationChoice, Reason, Runtime, Status, WorkloadError


def ended(status: Status, exit_code: int | None = None, reason: Reason | None = None) -> Workload:
    return Workload(
        id="",
        status=status,
        runtime=Runtime.NODE,
        isolation=IsolationChoice.AUTO,
        created_at=datetime.now(UTC),
        exit_code=exit_code,
        error=WorkloadError(reason=reason, message="") if reason else None,
    )


@pytest.mark.parametrize(
    ("workload", "code"),
    [
        (ended(Status.COMPLETED, 0), 0),
        (ended(Status.COMPLETED), 0),
        (ended(Status.FAILED, 7, Reason.EXIT_NONZERO), 7),
        (ended(Status.FAILED, 1, Reason.EXCEPTION), 1),
        (ended(Status.FAILED, None, Reason.TIMEOUT), 124),
        (ended(Status.FAILED, 137, Reason.TIMEOUT), 124),
        (ended(Status.FAILED, None, Reason.OUT_OF_MEMORY), 137),
        (ended(Status.FAILED, None, Reason.SANDBOX_CRASHED), 1),
        (ended(Status.FAILED, 0, Reason.OUTPUT_LIMIT), 1),
        *((ended(Status.KILLED, None, reason), 137) for reason in sorted(KILL_REASONS)),
    ],
)
def test_every_end_has_its_exit_code(workload: Workload, code: int) -> None:
    assert exit_code(workload) == code
