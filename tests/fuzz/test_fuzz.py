"""No bytes make a parser do anything but read or refuse them: a short run of what `make fuzz` does for long."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzzer import Report, Target, fuzz
from tests.fuzz.targets import TARGETS, with_found

RUNS = 1000


def complaints(report: Report) -> str:
    return "\n\n".join(f"{trace}\n{data[:300]!r}" for trace, data in report.failures.items())


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_read_or_refused(name: str) -> None:
    report = fuzz(with_found(TARGETS[name]), seed=1, runs=RUNS)
    assert not report.failures, complaints(report)
    assert report.arcs, "the fuzzer sees nothing of its target"


def test_the_fuzzer_finds_what_hides_behind_two_conditions() -> None:
    """Else its silence would say nothing."""

    def fragile(data: bytes) -> None:
        if data[:1] == b"[" and b"magic" in data:
            raise KeyError(data)

    report = fuzz(Target("fragile", fragile, (), (__file__,), [b"seed"], [b"magic", b"["]), seed=3, runs=5000)
    assert report.failures
