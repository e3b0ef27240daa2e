"""What is measured, in which order, and how often; and the figures that come of it."""

from __future__ import annotations

import shlex
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.benchmark import UNITS, BenchmarkRequest, Measure, Subject
from caisson.compare.bare import NoProcess, prepared
from caisson.compare.figures import spread
from caisson.compare.service import command_of
from caisson.compare.suite import COMPUTE, MEASURES, Phase, Program, chosen, programs, steps
from caisson.model import Isolation, Runtime, WorkloadSpec
from caisson.sandbox.contract import Capabilities

CAPABILITIES = {
    Isolation.ISOLATE: Capabilities(
        Isolation.ISOLATE, available=True, runtimes=frozenset({Runtime.NODE, Runtime.WASM})
    ),
    Isolation.GVISOR: Capabilities(Isolation.GVISOR, available=False, reason="no runsc"),
    Isolation.MICROVM: Capabilities(
        Isolation.MICROVM, available=True, runtimes=frozenset({Runtime.NODE, Runtime.PYTHON})
    ),
}

requests = st.builds(
    BenchmarkRequest,
    isolations=st.none() | st.lists(st.sampled_from(Isolation), min_size=1),
    runtimes=st.none() | st.lists(st.sampled_from(Runtime), min_size=1),
    runs=st.integers(1, 200),
    clients=st.integers(1, 64),
)


@given(requests)
def test_only_what_is_wanted_and_available_is_run_and_the_process_comes_first(request: BenchmarkRequest) -> None:
    todo = list(steps(request, programs(request, set(Runtime)), CAPABILITIES))
    subjects = {step.subject for step in todo} - {Subject.PROCESS}
    assert subjects <= {Subject(name.value) for name in request.isolations or Isolation} - {Subject.GVISOR}
    assert {step.program.spec.runtime for step in todo} <= set(request.runtimes or Runtime)
    seen = set()
    for step in todo:
        if step.subject is Subject.PROCESS:
            assert step.program.key not in seen
        seen.add(step.program.key)
        assert step.measures
    cold = {(step.program.key, step.subject) for step in todo if step.phase is Phase.COLD}
    fastest = {(step.program.key, step.subject) for step in todo if step.phase is Phase.FASTEST}
    assert cold == {pair for pair in fastest if pair[0][0] != COMPUTE}


def test_every_measure_is_made_by_one_phase_of_a_sandbox_and_has_a_unit() -> None:
    made = [measure for phase, told in MEASURES.items() if phase is not Phase.PROCESS for measure in told]
    assert sorted(made) == sorted(Measure) == sorted(UNITS)


def test_a_workload_of_the_users_is_never_run_as_a_process() -> None:
    request = BenchmarkRequest(workload=WorkloadSpec(runtime=Runtime.NODE, code="1"))
    todo = list(steps(request, programs(request, set(Runtime)), CAPABILITIES))
    assert {step.subject for step in todo} == {Subject.ISOLATE, Subject.MICROVM}


@pytest.mark.anyio
async def test_even_when_asked_to_a_users_program_is_not_prepared_for_the_host() -> None:
    with pytest.raises(NoProcess):
        async with prepared(Program("workload", WorkloadSpec(runtime=Runtime.BASH, code="touch /tmp/x"))):
            pass


def test_an_isolation_is_compared_once_however_often_it_is_named() -> None:
    request = BenchmarkRequest(isolations=[Isolation.ISOLATE, Isolation.ISOLATE])
    assert chosen(request, CAPABILITIES) == [Isolation.ISOLATE]


@given(st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=200))
def test_a_spread_is_in_order_and_within_its_samples(samples: list[float]) -> None:
    found = spread(samples)
    assert found is not None
    assert [min(samples), max(samples)] == [found.min, found.max]
    ordered = [found.min, found.p25, found.p50, found.p75, found.p90, found.p99, found.max]
    assert ordered == sorted(ordered)
    assert found.p50 in samples
    assert len(samples) % 2 == 0 or found.p50 == median(samples)
    assert found.stdev >= 0


def test_without_samples_there_is_no_spread() -> None:
    assert spread([]) is None


@given(requests)
def test_the_command_says_all_that_the_request_said(request: BenchmarkRequest) -> None:
    words = shlex.split(command_of(request))
    told = list(zip(words[2::2], words[3::2], strict=True))
    assert [value for name, value in told if name == "--isolation"] == (request.isolations or [])
    assert [value for name, value in told if name == "--runtime"] == (request.runtimes or [])
    assert told[-2:] == [("--runs", str(request.runs)), ("--clients", str(request.clients))]
