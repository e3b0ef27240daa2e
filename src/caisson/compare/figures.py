"""From samples to figures: their spread, and results as CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec

from caisson.benchmark import Benchmark, Spread
from caisson.engine.stats import percentile

_DIGITS = 6
COLUMNS = (
    *("benchmark", "program", "runtime", "subject", "measure", "unit", "note", "samples"),
    *Spread.__struct_fields__,
)


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


def as_csv(benchmark: Benchmark) -> str:
    """One line a result, the samples of each in one field with blanks between them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in benchmark.results:
        numbers = msgspec.structs.astuple(result.spread) if result.spread else [""] * len(Spread.__struct_fields__)
        labels = (result.program, result.runtime, result.subject, result.measure, result.unit, result.note or "")
        samples = " ".join(f"{sample:g}" for sample in result.samples)
        writer.writerow((benchmark.id, *labels, samples, *numbers))
    return text.getvalue()
