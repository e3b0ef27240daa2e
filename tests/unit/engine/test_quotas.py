"""Quotas: never more than allowed, never less either, whatever happened before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caisson.engine.quotas import MINUTE_S, Quotas
from caisson.errors import Refusal, Refused
from caisson.model import Isolation
from caisson.tenants import TenantPolicy


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.hour = 500_000


def quotas(clock: Clock, **policy: object) -> Quotas:
    made = Quotas(lambda: clock.now, lambda: clock.hour)
    made.set_policies({"a": TenantPolicy(**policy)})  # type: ignore[arg-type]  # as the test wants it
    return made


def refused(made: Quotas, mem_mb: int = 1) -> Refused | None:
    found: Refused | None = None
    try:
        made.check("a", mem_mb)
    except Refused as error:
        found = error
    if found is not None:
        assert (found.status, found.reason) == (429, Refusal.QUOTA_EXCEEDED)
        assert found.retry_after_s is not None
        assert found.retry_after_s >= 1
    return found


def test_whoever_nothing_was_said_of_has_no_limits() -> None:
    made = quotas(Clock(), concurrent=0)
    for _ in range(1000):
        made.check("b", 10**9)
        made.accepted("b")
        made.hold("b", 10**9)
    assert made.weight("b") == 1.0
    assert made.least("b") is None


@given(st.lists(st.booleans()), st.integers(0, 5))
def test_no_more_wait_or_run_than_allowed(events: list[bool], limit: int) -> None:
    made, held = quotas(Clock(), concurrent=limit), 0
    for begins in events:
        if begins:
            error = refused(made)
            assert (error is None) == (held < limit)
            if error is None:
                made.hold("a", 10)
                held += 1
            else:
                assert "`concurrent`" in error.message
                assert error.member == "concurrent"
        elif held:
            made.release("a", 10)
            held -= 1


@given(st.lists(st.integers(1, 100)))
def test_no_more_memory_is_held_than_allowed(sizes: list[int]) -> None:
    made, held = quotas(Clock(), mem_mb=150), 0
    for size in sizes:
        error = refused(made, size)
        assert (error is None) == (held + size <= 150)
        if error is None:
            made.hold("a", size)
            held += size
        else:
            assert "`mem_mb`" in error.message
            assert error.member == "resources.mem_mb"


@given(st.lists(st.floats(0, 40)), st.integers(1, 5))
def test_within_any_minute_no_more_are_accepted_than_allowed_and_a_retry_succeeds(
    pauses: list[float], limit: int
) -> None:
    clock, accepted = Clock(), list[float]()
    made = quotas(clock, per_minute=limit)
    for pause in pauses:
        clock.now += pause
        error = refused(made)
        lately = [instant for instant in accepted if instant > clock.now - MINUTE_S]
        assert (error is None) == (len(lately) < limit)
        if error is not None:
            assert "`per_minute`" in error.message
            assert error.member == "per_minute"
            assert error.retry_after_s is not None
            clock.now += error.retry_after_s
            assert refused(made) is None
        made.accepted("a")
        accepted.append(clock.now)


def test_cpu_time_counts_for_a_day_whoever_counted_it() -> None:
    clock = Clock()
    made = quotas(clock, cpu_s_per_day=10)
    made.spent("a", 4_000, clock.hour - 23)  # as read from the store at start
    made.spent("a", 5_999)
    assert refused(made) is None
    made.spent("a", 1)
    error = refused(made)
    assert error is not None
    assert "`cpu_s_per_day`" in error.message
    assert error.member == "cpu_s_per_day"
    clock.hour += 1  # the oldest is a day old now
    assert refused(made) is None


def test_a_clock_that_is_set_back_does_not_lift_a_quota() -> None:
    clock = Clock()
    made = quotas(clock, cpu_s_per_day=1)
    made.spent("a", 2_000)
    clock.hour -= 1
    assert refused(made) is not None


def test_a_policy_that_changes_counts_at_once() -> None:
    made = quotas(Clock(), concurrent=1, weight=3, least_isolation=Isolation.GVISOR)
    made.hold("a", 1)
    assert refused(made) is not None
    assert (made.weight("a"), made.least("a")) == (3, Isolation.GVISOR)
    made.set_policies({})
    assert refused(made) is None
