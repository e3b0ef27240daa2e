"""What the API answers besides workloads: pages, backends, nodes and statistics; shared by server and client."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from caisson.model import (
    Isolation,
    IsolationChoice,
    LogLine,
    Runtime,
    StartKind,
    Status,
    Timings,
    Usage,
    Workload,
    WorkloadError,
)


class WorkloadPage(Struct, frozen=True, kw_only=True):
    """A page of workloads, newest first. `next_cursor` is null on the last page."""

    workloads: list[Workload]
    total: int
    next_cursor: str | None
    limit: int
    offset: int


class LogPage(Struct, frozen=True, kw_only=True):
    """Stored log lines; `next_seq` is what to pass as `after` for the following page."""

    workload_id: str
    lines: list[LogLine]
    next_seq: int


class PoolView(Struct, frozen=True, kw_only=True):
    """One pool of waiting sandboxes."""

    runtime: Runtime
    target: int
    ready: int
    starting: int


class CheckVerdict(StrEnum):
    """How a check of the host went: fine, works with less, or not there."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


class HostCheck(Struct, frozen=True, kw_only=True):
    """One check of the host: what was found, and what to do where it is not all it could be."""

    name: str
    verdict: CheckVerdict
    found: str
    fix: str | None


class BackendView(Struct, frozen=True, kw_only=True):
    """What one isolation can do on this node."""

    isolation: Isolation
    available: bool
    reason: str | None
    fix: str | None
    runtimes: list[Runtime]
    missing: dict[Runtime, str]
    limits: list[str]
    networks: list[str]
    acceleration: str | None
    facts: dict[str, str]
    pool: list[PoolView]


class Capacity(Struct, frozen=True, kw_only=True):
    """What a node has to give, or has given."""

    cpus: float
    mem_mb: int
    workloads: int


class HostLoad(Struct, frozen=True, kw_only=True):
    """How busy a machine is: load averages (as `uptime` tells them), memory, and room for the data folder, in MiB."""

    load_1m: float
    load_5m: float
    load_15m: float
    mem_total_mb: int
    mem_available_mb: int
    disk_total_mb: int
    disk_free_mb: int


class NodeView(Struct, frozen=True, kw_only=True):
    """One node: what it has, what is in use, and the tenant's own workloads that run on it."""

    id: str
    status: str
    version: str
    started_at: datetime
    capacity: Capacity
    used: Capacity
    queued: int
    isolations: list[Isolation]
    running: list[str]
    load: HostLoad


class Counts(Struct, frozen=True, kw_only=True):
    """How many workloads there are, by each of three properties."""

    status: dict[Status, int]
    isolation: dict[Isolation, int]
    runtime: dict[Runtime, int]


class Latency(Struct, frozen=True, kw_only=True):
    """Time from acceptance to result, in milliseconds, of the newest finished workloads of one kind."""

    isolation: Isolation
    start: StartKind
    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class SeriesPoint(Struct, frozen=True, kw_only=True):
    """What finished within one interval that begins at `t`; percentiles are of `total_ms`."""

    t: datetime
    isolation: Isolation
    start: StartKind
    completed: int
    failed: int
    killed: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class Stats(Struct, frozen=True, kw_only=True):
    """Figures for charts: of the tenant's own workloads, but for the sandboxes that wait and the host's load.

    `latency` and `series` are of those that finished within the last `window_s` seconds; where that is more than
    20,000, of the newest ones, and `since` is the end of the oldest. `interval_s` is the width of a point in `series`.
    `host` is null for whoever may not see nodes.
    """

    counts: Counts
    latency: list[Latency]
    window_s: int
    since: datetime
    interval_s: int
    series: list[SeriesPoint]
    pools: dict[Isolation, list[PoolView]]
    host: HostLoad | None
    queued: int
    running: int
    log_streams: int


class IsolationOption(Struct, frozen=True, kw_only=True):
    """Whether one isolation can run something here; `reason` says why not."""

    isolation: Isolation
    possible: bool
    reason: str | None


class Routing(Struct, frozen=True, kw_only=True):
    """What would be chosen for a workload now, and why. `isolation` is null when nothing here can run it."""

    isolation: Isolation | None
    reason: str
    options: list[IsolationOption]


class WorkloadSummary(Struct, frozen=True, kw_only=True):
    """A workload without what may be large: its output."""

    id: str
    status: Status
    runtime: Runtime
    isolation: IsolationChoice
    isolation_used: Isolation | None
    node_id: str | None
    start: StartKind | None
    exit_code: int | None
    error: WorkloadError | None
    usage: Usage
    timings: Timings
    duration_ms: int | None
    labels: dict[str, str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Changed(Struct, frozen=True, kw_only=True):
    """Workloads that changed, each as it is now. `missed`: there were more, so a list must be read anew."""

    workloads: list[WorkloadSummary]
    missed: bool


class Load(Struct, frozen=True, kw_only=True):
    """What this server has to do for the tenant at the moment, and the sandboxes that wait for anybody's work."""

    queued: int
    running: int
    pools: dict[Isolation, list[PoolView]]


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem document. `member` is the part of the request at fault."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    member: str | None = None


class ImageView(Struct, frozen=True, kw_only=True):
    """A guest image on this machine; `size` in bytes, and `packages` is how many it was made of."""

    name: str
    version: str
    arch: str
    digest: str
    current: bool
    size: int
    summary: str
    packages: int
    installed_at: datetime


class BuildableImage(Struct, frozen=True, kw_only=True):
    """An image that can be built or pulled. `outdated`: the one that is here was built from another definition."""

    name: str
    summary: str
    built: bool
    outdated: bool


class ImageJobKind(StrEnum):
    """What a job does to get an image."""

    BUILD = "build"
    PULL = "pull"


class ImageJobStatus(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImageJob(Struct, frozen=True, kw_only=True):
    """A build or pull of an image. `done_bytes` and `total_bytes` are of the `step`, where that has a size."""

    id: str
    kind: ImageJobKind
    image: str
    status: ImageJobStatus
    step: str
    done_bytes: int | None = None
    total_bytes: int | None = None
    digest: str | None = None
    error: str | None = None
    started_at: datetime
    finished_at: datetime | None = None


class ImageList(Struct, frozen=True, kw_only=True):
    """The images on this machine, what else there could be, where they are pulled from, and the jobs, newest first."""

    images: list[ImageView]
    buildable: list[BuildableImage]
    source: str | None
    jobs: list[ImageJob]
