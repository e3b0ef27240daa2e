"""Latency percentiles and time series from finished workloads: pure functions over rows of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from caisson.answers import Latency, SeriesPoint
from caisson.model import Isolation, StartKind, Status
from caisson.store.records import Finished

WINDOW_S = 3_600
"""What figures are about if nothing is said."""
MAX_WINDOW_S = 30 * 86_400
POINTS = 120
"""Most points of a time series for each isolation and start kind."""
INTERVALS_S = (1, 5, 10, 30, 60, 300, 900, 3_600, 6 * 3_600, 86_400)


def interval_of(window_s: int) -> int:
    """The narrowest interval, in seconds, that a window has no more than POINTS of."""
    return next(interval_s for interval_s in INTERVALS_S if window_s <= POINTS * interval_s)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of a rising sequence; `share` is between 0 and 1. Raises IndexError on none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latencies(rows: Iterable[Finished]) -> list[Latency]:
    """Percentiles for each isolation and start kind."""
    groups: dict[tuple[Isolation, StartKind], list[float]] = defaultdict(list)
    for row in rows:
        groups[row.isolation, row.start].append(row.total_ms)
    return [
        Latency(
            isolation=isolation,
            start=start,
            count=len(values),
            p50_ms=percentile(values, 0.5),
            p90_ms=percentile(values, 0.9),
            p99_ms=percentile(values, 0.99),
        )
        for (isolation, start), values in sorted((key, sorted(values)) for key, values in groups.items())
    ]


def series(rows: Iterable[Finished], interval_s: int) -> list[SeriesPoint]:
    """What finished in each interval, oldest first."""
    groups: dict[tuple[int, Isolation, StartKind], list[Finished]] = defaultdict(list)
    for row in rows:
        groups[int(row.finished_at.timestamp()) // interval_s, row.isolation, row.start].append(row)
    points = []
    for (slot, isolation, start), members in sorted(groups.items()):
        statuses = [row.status for row in members]
        values = sorted(row.total_ms for row in members)
        points.append(
            SeriesPoint(
                t=datetime.fromtimestamp(slot * interval_s, UTC),
                isolation=isolation,
                start=start,
                completed=statuses.count(Status.COMPLETED),
                failed=statuses.count(Status.FAILED),
                killed=statuses.count(Status.KILLED),
                p50_ms=percentile(values, 0.5),
                p90_ms=percentile(values, 0.9),
                p99_ms=percentile(values, 0.99),
            )
        )
    return points
