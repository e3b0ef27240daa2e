"""What is begun anew: never more often than asked for, never where that could do harm unasked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from caisson.engine.recovery import begins_anew, lost, runs_again
from caisson.model import Reason, Runtime, Status, WorkloadSpec
from caisson.store.records import Stored
from tests.helpers.workloads import accepted, running

specs = st.builds(WorkloadSpec, runtime=st.just(Runtime.NODE), retries=st.integers(0, 10), idempotent=st.booleans())
NOT_ITS_FAULT = {Reason.START_FAILED, Reason.SANDBOX_CRASHED, Reason.NODE_LOST}


@given(specs, st.integers(0, 20), st.none() | st.sampled_from(Reason))
def test_only_after_what_was_not_its_fault_and_within_its_retries(
    spec: WorkloadSpec, attempts: int, reason: Reason | None
) -> None:
    if begins_anew(spec, attempts, reason):
        assert reason in NOT_ITS_FAULT
        assert attempts <= spec.retries
        assert spec.idempotent or reason is Reason.START_FAILED


@given(specs, st.booleans(), st.booleans(), st.integers(0, 20))
def test_after_a_restart_a_workload_either_runs_or_is_told_to_be_lost(
    spec: WorkloadSpec, attached: bool, begun: bool, attempts: int
) -> None:
    new = accepted(attached=attached)
    workload = replace(running(new.workload) if begun else new.workload, attempts=attempts)
    stored = Stored(workload, "default", new.spec, None, attached)
    if runs_again(stored, spec):
        assert not attached
        assert not begun or (spec.idempotent and attempts <= spec.retries)
    else:
        told = lost(stored)
        assert (told.status, told.error and told.error.reason) == (Status.FAILED, Reason.NODE_LOST)
