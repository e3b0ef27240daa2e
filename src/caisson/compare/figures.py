"""From samples to figures: their spread. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from caisson.benchmark import Spread
from caisson.engine.stats import percentile

_DIGITS = 6


def spread(samples: Sequence[float]) -> Spread | None:
    """The samples in a few numbers; None if there are none."""
    if not samples:
        return None
    ordered = sorted(samples)
    return Spread(
        min=ordered[0],
        p25=percentile(ordered, 0.25),
        p50=percentile(ordered, 0.5),
        p75=percentile(ordered, 0.75),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        max=ordered[-1],
        mean=round(fmean(ordered), _DIGITS),
        stdev=round(stdev(ordered), _DIGITS) if len(ordered) > 1 else 0.0,
    )
