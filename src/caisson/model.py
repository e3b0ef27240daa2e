"""The nouns of Caisson: workloads, their states, and what is said about them.

These are the shapes of the HTTP contract, shared by server and client. Free-form JSON (`input` and `output`) is kept as
the bytes that arrived (`msgspec.Raw`): the server validates it and hands it on, and never pays for parsing it.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct, field


class Status(StrEnum):
    """Where a workload is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def terminal(self) -> bool:
        """True when nothing will change any more."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED, Status.KILLED}),
    Status.RUNNING: frozenset({Status.COMPLETED, Status.FAILED, Status.KILLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.KILLED: frozenset(),
}
"""The only way a workload moves; the store refuses everything else."""


class Isolation(StrEnum):
    """What stands between a workload and the host."""

    ISOLATE = "isolate"
    GVISOR = "gvisor"
    MICROVM = "microvm"


class IsolationChoice(StrEnum):
    """What a user may ask for: one isolation, or `auto`."""

    AUTO = "auto"
    ISOLATE = "isolate"
    GVISOR = "gvisor"
    MICROVM = "microvm"


class Runtime(StrEnum):
    """What a workload is written in."""

    PYTHON = "python"
    NODE = "node"
    GO = "go"
    WASM = "wasm"
    OCI = "oci"
    BASH = "bash"


class StartKind(StrEnum):
    """How the sandbox came to be ready: it waited, came from a snapshot, or was booted."""

    WARM = "warm"
    RESTORED = "restored"
    COLD = "cold"


class Stream(StrEnum):
    """Which of a program's two outputs a log line came from."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Reason(StrEnum):
    """Why a workload did not complete. Closed: also the metric label and the documented member of the answer."""

    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    EXIT_NONZERO = "exit_nonzero"
    EXCEPTION = "exception"
    OUTPUT_LIMIT = "output_limit"
    DISK_FULL = "disk_full"
    INVALID_CODE = "invalid_code"
    IMAGE_NOT_FOUND = "image_not_found"
    SANDBOX_CRASHED = "sandbox_crashed"
    START_FAILED = "start_failed"
    NODE_LOST = "node_lost"
    CLIENT_DISCONNECTED = "client_disconnected"
    KILLED_BY_USER = "killed_by_user"
    SHUTDOWN = "shutdown"


KILL_REASONS = frozenset({Reason.CLIENT_DISCONNECTED, Reason.KILLED_BY_USER, Reason.SHUTDOWN})
"""Reasons that end a workload as `killed`; every other reason ends it as `failed`."""


MAX_BODY_BYTES = 15 * 1024 * 1024
"""Largest JSON request body."""
MAX_ARCHIVE_BYTES = 100 * 1024 * 1024
"""Largest uploaded archive, compressed."""
MAX_FILES = 10_000
MAX_ENV = 1_000
MAX_ARGS = 1_000
MAX_LABELS = 64

# Python's `$` also matches before a final newline, JSON Schema's does not: `$(?!\n)` means the same to both.
_SEGMENT = r"(?:[^./\\\x00][^/\\\x00]{0,254}|\.[^./\\\x00][^/\\\x00]{0,253}|\.\.[^/\\\x00]{1,253})"
FilePath = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        pattern=rf"^{_SEGMENT}(?:/{_SEGMENT})*$(?!\n)",
        description="A relative path with `/` between names; no name is `.` or `..` or has a backslash.",
    ),
]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)", max_length=256)]
NoNul = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
LabelText = Annotated[
    str, Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?$(?!\n)")
]
LabelValue = Annotated[str, Meta(max_length=256, pattern=r"^[^\x00-\x1f]*$(?!\n)")]


class Resources(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a workload may use; each limit is enforced by the backends that list it."""

    cpus: Annotated[float, Meta(ge=0.05, le=64)] = 1
    mem_mb: Annotated[int, Meta(ge=16, le=262_144)] = 256
    disk_mb: Annotated[int, Meta(ge=1, le=262_144)] = 512
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 30
    max_output_bytes: Annotated[int, Meta(ge=0, le=67_108_864)] = 10_485_760


class NetworkAllow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The only destinations a workload may reach: CIDRs, `host:port`, or names."""

    allow: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...], Meta(min_length=1, max_length=256)]


def _null() -> Raw:
    return Raw(b"null")


Network = Literal["none", "egress"] | NetworkAllow


class WorkloadSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One job as its author describes it. `isolation` is `auto` when left out."""

    runtime: Runtime
    isolation: IsolationChoice = IsolationChoice.AUTO
    code: str | None = None
    files: Annotated[dict[FilePath, str], Meta(min_length=1, max_length=MAX_FILES)] | None = None
    code_archive: str | None = None
    image: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    command: Annotated[list[NoNul], Meta(max_length=MAX_ARGS)] | None = None
    entrypoint: FilePath | None = None
    input: Raw = field(default_factory=_null)
    env: Annotated[dict[EnvName, NoNul], Meta(max_length=MAX_ENV)] = {}
    args: Annotated[list[NoNul], Meta(max_length=MAX_ARGS)] = []
    stdin: str | None = None
    resources: Resources = Resources()
    network: Network = "none"
    labels: Annotated[dict[LabelText, LabelValue], Meta(max_length=MAX_LABELS)] = {}
    retries: Annotated[int, Meta(ge=0, le=10, description="How often to begin anew when it was not its own fault.")] = 0
    idempotent: Annotated[bool, Meta(description="Begin anew also after its code may have begun.")] = False


class WorkloadError(Struct, frozen=True, kw_only=True):
    """Why a workload did not complete, for its author."""

    reason: Reason
    message: str


class Usage(Struct, frozen=True, kw_only=True):
    """What a workload used; null where the host cannot measure it."""

    cpu_ms: float | None = None
    peak_mem_mb: float | None = None
    rx_bytes: int | None = None
    """Received over the network; null also where it had none."""
    tx_bytes: int | None = None


class Timings(Struct, frozen=True, kw_only=True):
    """Where the time went, in milliseconds: waiting for a place, getting a sandbox, running, and all of it."""

    queued_ms: float | None = None
    start_ms: float | None = None
    exec_ms: float | None = None
    total_ms: float | None = None


class MachineFacts(Struct, frozen=True, kw_only=True):
    """The virtual machine a workload ran in: what made it, what executed it, how long it took to come up."""

    vmm: str
    acceleration: str
    boot_ms: float | None = None
    """From the VMM's start to an interpreter that waits; null for a copy of a saved machine."""
    restore_ms: float | None = None
    """From the VMM's start to a copy that runs; null for a machine that was booted."""
    renew_ms: float | None = None
    """What a copy took to become one of its own."""


class Workload(Struct, frozen=True, kw_only=True):
    """A workload as the API answers it."""

    id: str
    status: Status
    runtime: Runtime
    isolation: IsolationChoice
    isolation_used: Isolation | None = None
    routing: str | None = None
    node_id: str | None = None
    start: StartKind | None = None
    machine: MachineFacts | None = None
    attempts: int = 0
    output: Raw = field(default_factory=_null)
    exit_code: int | None = None
    error: WorkloadError | None = None
    resources: Resources = Resources()
    usage: Usage = Usage()
    timings: Timings = Timings()
    duration_ms: int | None = None
    labels: dict[str, str] = {}
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class LogLine(Struct, frozen=True, kw_only=True):
    """One line of a program's output; `seq` counts from 0 without gaps over both streams."""

    seq: int
    stream: Stream
    line: str
    ts: datetime


_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def is_workload_id(text: str) -> bool:
    """True if `text` has the form of a workload id (a ULID)."""
    return _ULID.fullmatch(text) is not None
