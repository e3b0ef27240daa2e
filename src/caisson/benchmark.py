"""The nouns of a comparison: what is measured, on what, and the figures that come of it."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import astuple

from caisson.model import Isolation, Runtime, WorkloadSpec

MAX_RUNS = 200
MAX_CLIENTS = 64


class BenchmarkStatus(StrEnum):
    """Where a benchmark is in its life; all but `running` are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Subject(StrEnum):
    """What a program ran on: an isolation, or the bare host as a process of its own."""

    PROCESS = "process"
    ISOLATE = "isolate"
    GVISOR = "gvisor"
    MICROVM = "microvm"


class Measure(StrEnum):
    """What was measured.

    The starts are the time to get a READY sandbox: booted, from a snapshot, or one that waited. `execution` is the
    program alone; `round_trip` all from acceptance to result, and of a process from its start to its end; `overhead`
    how many times the process's round trip that is; `throughput` what several clients got done; `memory` the most one
    sandbox held.
    """

    COLD_START = "cold_start"
    RESTORED_START = "restored_start"
    WARM_START = "warm_start"
    EXECUTION = "execution"
    ROUND_TRIP = "round_trip"
    OVERHEAD = "overhead"
    THROUGHPUT = "throughput"
    MEMORY = "memory"


class Unit(StrEnum):
    """What a figure counts: milliseconds, workloads a second, MiB, or how many times another figure it is."""

    MS = "ms"
    PER_S = "per_s"
    MIB = "mib"
    TIMES = "times"


UNITS = {
    Measure.COLD_START: Unit.MS,
    Measure.RESTORED_START: Unit.MS,
    Measure.WARM_START: Unit.MS,
    Measure.EXECUTION: Unit.MS,
    Measure.ROUND_TRIP: Unit.MS,
    Measure.OVERHEAD: Unit.TIMES,
    Measure.THROUGHPUT: Unit.PER_S,
    Measure.MEMORY: Unit.MIB,
}


class BenchmarkRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to compare: the built-in suite, or one `workload`, whose own `isolation` is not looked at.

    Without `isolations` it is every one that is available, without `runtimes` the suite's programs for all of them.
    """

    workload: WorkloadSpec | None = None
    isolations: Annotated[list[Isolation], Meta(min_length=1, max_length=16)] | None = None
    runtimes: Annotated[list[Runtime], Meta(min_length=1, max_length=16)] | None = None
    runs: Annotated[int, Meta(ge=1, le=MAX_RUNS, description="Samples of each start kind.")] = 10
    clients: Annotated[int, Meta(ge=1, le=MAX_CLIENTS, description="Clients at once for `throughput`.")] = 4


class Spread(Struct, frozen=True, kw_only=True):
    """Samples in a few numbers; percentiles by nearest rank, `stdev` of the sample (0 where there is only one)."""

    min: float
    p25: float
    p50: float
    p75: float
    p90: float
    p99: float
    max: float
    mean: float
    stdev: float


class BenchmarkResult(Struct, frozen=True, kw_only=True):
    """One measure of one program on one subject. Without samples, `note` says why, and `spread` is null."""

    seq: int
    program: str
    runtime: Runtime
    subject: Subject
    measure: Measure
    unit: Unit
    samples: list[float]
    spread: Spread | None
    note: str | None


class BenchmarkProgress(Struct, frozen=True, kw_only=True):
    """How far a benchmark is, in runs, and what it is measuring; null before the first and after the last."""

    done: int
    total: int
    program: str | None = None
    runtime: Runtime | None = None
    subject: Subject | None = None
    measure: Measure | None = None


class BenchmarkHead(Struct, frozen=True, kw_only=True):
    """A benchmark without its results. `command` measures the same again, `host` says on what this was measured."""

    id: str
    status: BenchmarkStatus
    request: BenchmarkRequest
    command: str
    progress: BenchmarkProgress
    error: str | None
    node_id: str
    host: dict[str, str]
    created_at: datetime
    finished_at: datetime | None


class Benchmark(BenchmarkHead, frozen=True, kw_only=True):
    """A benchmark with the results so far, in the order in which they came."""

    results: list[BenchmarkResult]


class BenchmarkPage(Struct, frozen=True, kw_only=True):
    """A page of benchmarks, newest first. `next_cursor` is null on the last page."""

    benchmarks: list[BenchmarkHead]
    total: int
    next_cursor: str | None
    limit: int


class BenchmarkDone(Struct, frozen=True, kw_only=True):
    """The end of a benchmark's event stream."""

    status: BenchmarkStatus
    error: str | None


CSV_COLUMNS = (
    *("benchmark", "program", "runtime", "subject", "measure", "unit", "note", "samples"),
    *Spread.__struct_fields__,
)


def as_csv(benchmark: Benchmark) -> str:
    """One line a result, the samples of each in one field with blanks between them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in benchmark.results:
        numbers = astuple(result.spread) if result.spread else [""] * len(Spread.__struct_fields__)
        labels = (result.program, result.runtime, result.subject, result.measure, result.unit, result.note or "")
        samples = " ".join(f"{sample:g}" for sample in result.samples)
        writer.writerow((benchmark.id, *labels, samples, *numbers))
    return text.getvalue()
