"""Figures for charts: nothing lost between the intervals, start kinds apart, never more points than a chart takes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from caisson.engine.stats import MAX_WINDOW_S, POINTS, interval_of, latencies, series
from caisson.model import Isolation, StartKind, Status
from caisson.store.records import Finished

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
rows = st.lists(
    st.builds(
        Finished,
        status=st.sampled_from([Status.COMPLETED, Status.FAILED, Status.KILLED]),
        isolation=st.sampled_from(Isolation),
        start=st.sampled_from(StartKind),
        finished_at=st.integers(0, 3_600_000).map(lambda ms: NOON + timedelta(milliseconds=ms)),
        total_ms=st.floats(0.001, 1e6),
    )
)


@given(rows, st.sampled_from([1, 60, 3_600]))
def test_every_workload_is_in_exactly_one_point_of_its_kind(found: list[Finished], interval_s: int) -> None:
    points = series(found, interval_s)
    counted = Counter[tuple[Isolation, StartKind]]()
    for point in points:
        counted[point.isolation, point.start] += point.completed + point.failed + point.killed
        assert point.t.timestamp() % interval_s == 0
        assert point.p50_ms <= point.p90_ms <= point.p99_ms
    assert counted == Counter((row.isolation, row.start) for row in found)
    assert sum(point.completed for point in points) == sum(row.status is Status.COMPLETED for row in found)
    assert [point.t for point in points] == sorted(point.t for point in points)


@given(rows)
def test_latencies_are_told_apart_by_isolation_and_start_kind(found: list[Finished]) -> None:
    told = latencies(found)
    assert {(row.isolation, row.start): row.count for row in told} == Counter((r.isolation, r.start) for r in found)
    for row in told:
        values = [r.total_ms for r in found if (r.isolation, r.start) == (row.isolation, row.start)]
        assert {row.p50_ms, row.p90_ms, row.p99_ms} <= set(values)
        assert row.p50_ms <= row.p90_ms <= row.p99_ms


@given(st.integers(60, MAX_WINDOW_S))
def test_a_chart_never_has_too_many_points(window_s: int) -> None:
    assert window_s / interval_of(window_s) <= POINTS
