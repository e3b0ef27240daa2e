"""Outcomes: a program's failure is never reported as ours, nor ours as the program's."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.engine.outcome import Outcome, Seen, decide
from caisson.model import KILL_REASONS, Reason, Status
from caisson.sandbox.contract import Exited, Raised


def reason_of(outcome: Outcome) -> Reason | None:
    return outcome.error.reason if outcome.error else None


def test_a_clean_exit_completes_with_its_output() -> None:
    outcome = decide(Seen(exited=Exited(code=0), result=b'{"a": 1}'))
    assert (outcome.status, outcome.exit_code, outcome.output) == (Status.COMPLETED, 0, b'{"a": 1}')


def test_a_program_without_output_completes_with_null() -> None:
    assert decide(Seen(exited=Exited(code=0))).output == b"null"


@pytest.mark.parametrize(("exited", "code"), [(Exited(code=3), 3), (Exited(signal=11), 139)])
def test_a_bad_exit_is_the_programs_own_with_the_code_a_shell_would_show(exited: Exited, code: int) -> None:
    outcome = decide(Seen(exited=exited))
    assert (outcome.status, reason_of(outcome), outcome.exit_code) == (Status.FAILED, Reason.EXIT_NONZERO, code)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("TypeError", Reason.EXCEPTION),
        ("invalid_code", Reason.INVALID_CODE),
        ("disk_full", Reason.DISK_FULL),
    ],
)
def test_an_uncaught_exception_says_what_it_was(kind: str, reason: Reason) -> None:
    outcome = decide(Seen(raised=Raised(kind, "it broke", "it broke\n  at main.ts:1:1"), exited=Exited(code=1)))
    assert (reason_of(outcome), outcome.exit_code) == (reason, 1)
    assert outcome.error is not None
    assert "main.ts:1:1" in outcome.error.message


def test_running_out_of_memory_outranks_the_exception_it_caused() -> None:
    seen = Seen(raised=Raised("RangeError", "", ""), exited=Exited(signal=9, out_of_memory=True))
    outcome = decide(seen)
    assert (reason_of(outcome), outcome.exit_code) == (Reason.OUT_OF_MEMORY, None)


def test_an_end_without_a_word_is_a_crash_of_the_sandbox() -> None:
    assert reason_of(decide(Seen())) is Reason.SANDBOX_CRASHED


@pytest.mark.parametrize("reason", list(Reason))
def test_what_the_host_did_outranks_what_the_sandbox_says(reason: Reason) -> None:
    seen = Seen(exited=Exited(code=0), result=b"1")
    seen.end(reason, "because")
    outcome = decide(seen)
    assert reason_of(outcome) is reason
    assert outcome.status is (Status.KILLED if reason in KILL_REASONS else Status.FAILED)
    assert outcome.exit_code is None


@pytest.mark.parametrize(
    "lie", [b"{", b"NaN", b"1e999", b'"\xff"', b'"\\ud800"', b"1 2", b"[" * 100_000 + b"]" * 100_000]
)
def test_output_that_is_not_json_fails_the_program(lie: bytes) -> None:
    outcome = decide(Seen(exited=Exited(code=0), result=lie))
    assert (outcome.status, reason_of(outcome), outcome.output) == (Status.FAILED, Reason.EXCEPTION, b"null")


@given(st.binary())
def test_an_answer_is_json_whatever_the_sandbox_sends(result: bytes) -> None:
    json.loads(decide(Seen(exited=Exited(code=0), result=result)).output)
