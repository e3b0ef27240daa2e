"""The time stamp counter's rate is told only where it is one, and is what a clock says."""

from __future__ import annotations

import mmap
import platform
import time

import pytest

from caisson.backends.microvm import tsc

CPU = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu tsc {flags} rdrand\nbugs\t\t: spectre_v1\n\n"


@pytest.mark.parametrize(
    ("cpuinfo", "steady"),
    [
        (CPU.format(flags="constant_tsc nonstop_tsc"), True),
        (CPU.format(flags="nonstop_tsc pge constant_tsc"), True),
        (CPU.format(flags="constant_tsc"), False),
        (CPU.format(flags="nonstop_tsc"), False),
        (CPU.format(flags="constant_tsc_x nonstop_tsc"), False),
        (CPU.format(flags=""), False),
        ("flags : constant_tsc nonstop_tsc", True),
        ("vmx flags\t: constant_tsc nonstop_tsc\nflags\t: tsc\n", False),
        ("model name\t: flags constant_tsc nonstop_tsc\n", False),
        ("flags\n", False),
        ("", False),
    ],
)
def test_a_counter_is_steady_if_the_cpu_says_both_words(cpuinfo: str, steady: bool) -> None:
    assert tsc.is_steady(cpuinfo) is steady


def test_the_first_cpu_speaks_for_all() -> None:
    assert tsc.is_steady(CPU.format(flags="constant_tsc nonstop_tsc") + CPU.format(flags=""))
    assert not tsc.is_steady(CPU.format(flags="") + CPU.format(flags="constant_tsc nonstop_tsc"))


def test_the_rate_of_a_counter_is_found_to_a_percent() -> None:
    def counter() -> int:
        return time.monotonic_ns() * 5 // 2

    rate_khz = tsc._measure(counter)  # type: ignore[arg-type] # like the machine code: no argument, a number
    assert rate_khz == pytest.approx(2_500_000, rel=0.01)


def test_where_the_counter_may_not_be_relied_on_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "is_steady", lambda cpuinfo: False)
    assert tsc.tsc_khz() is None
    monkeypatch.setattr(tsc, "is_steady", lambda cpuinfo: True)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert tsc.tsc_khz() is None


def test_a_host_that_allows_no_such_memory_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(tsc, "is_steady", lambda cpuinfo: True)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(mmap, "mmap", refuse)
    assert tsc.tsc_khz() is None
