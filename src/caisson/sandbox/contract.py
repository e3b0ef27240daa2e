"""The contract between the engine and the backends: what a backend offers, and what a sandbox does.

The engine knows workloads, backends know sandboxes. A `Job` is a workload stripped to what a sandbox must know; what
comes back is a stream of `Event`s. Everything in an event came out of a sandbox and is hostile: text is not decoded,
JSON is not parsed, and an exit code is only what the guest says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from caisson.host.network.slots import Slots
from caisson.model import Isolation, MachineFacts, Network, Resources, Runtime, StartKind, Stream, Usage

ENTRY_POINT_GROUP = "caisson.backends"
"""Backends are found under this entry-point group; each entry names a callable `(BackendContext) -> Backend`."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a sandbox must be before its workload is known. `Backend.pool_spec` makes it the key of a pool."""

    runtime: Runtime
    mem_mb: int
    disk_mb: int
    network: Network = "none"
    image: str | None = None
    cpus: float = 1.0
    start: StartKind | None = None
    """COLD: boot it whole. RESTORED: from a snapshot. None: the fastest way there is. A backend that knows one way only
    need not look at it; what a sandbox says of its own `start` is what counts."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one workload, as a sandbox sees it. Paths are relative to the sandbox's work folder."""

    id: str
    runtime: Runtime
    entrypoint: str
    resources: Resources
    files: Mapping[str, bytes] = field(default_factory=dict)
    archive: Path | None = None
    """A tar.gz on the host, already checked, to be unpacked under `files`."""
    input: bytes = b"null"
    stdin: bytes | None = None
    """None: a program reads `input` from its stdin."""
    env: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    network: Network = "none"
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes the program wrote, in the order in which they arrived."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """JSON text the program returned or wrote to `$CAISSON_OUTPUT`; at most once, before `Exited`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Raised:
    """An uncaught exception. `kind` is its class, or `invalid_code` or `disk_full`; `trace` names only user files."""

    kind: str
    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The end: an exit code, or a signal. Always last, exactly once."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    """The host or the runtime saw a memory limit end it."""


Event = Output | Result | Raised | Exited


@runtime_checkable
class Sandbox(Protocol):
    """One throw-away world. READY when handed out; runs one job; never used again."""

    id: str
    spec: SandboxSpec
    start: StartKind
    """How it came to be READY, from the backend's view: RESTORED or COLD. The pool reports WARM."""

    def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Deliver the job's files, set its limits, begin, and yield events until `Exited`.

        May be called once. The caller keeps the deadline: it stops iterating and calls `kill`. A slow caller slows the
        program, never loses its output. Raises StartFailed while user code has certainly not begun, SandboxCrashed when
        the sandbox dies or breaks the protocol afterwards.
        """
        ...

    async def ping(self, timeout_s: float) -> bool:
        """True if a waiting sandbox still answers. Only before `run`."""
        ...

    def usage(self) -> Usage:
        """CPU and peak memory since `run` began, as far as the host can tell; callable until the sandbox is closed."""
        ...

    async def kill(self) -> None:
        """End everything inside and return when it is verified dead. Idempotent; callable in every state."""
        ...


def machine_facts(sandbox: Sandbox) -> MachineFacts | None:
    """What a sandbox that is a virtual machine tells of it in `facts`; None for any other."""
    facts = getattr(sandbox, "facts", None)
    return facts if isinstance(facts, MachineFacts) else None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What `probe` found. `reason` and `fix` say why not and what would help; both are for people."""

    isolation: Isolation
    available: bool
    reason: str | None = None
    fix: str | None = None
    runtimes: frozenset[Runtime] = frozenset()
    missing: Mapping[Runtime, str] = field(default_factory=dict)
    """Runtimes this isolation could run but cannot here, each with what is missing and how to get it."""
    limits: frozenset[str] = frozenset()
    """Names of the resource limits that are enforced here: members of `Resources`, and `pids`."""
    networks: frozenset[str] = frozenset({"none"})
    """Kinds of network it can give: `none`, `egress`, `allow`."""
    acceleration: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """Versions and choices worth showing, such as `deno: 2.9.8` or `cgroup: v2`."""


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What a backend gets when it is made."""

    node_id: str
    node_dir: Path
    """Everything a backend leaves on disk lies here, so that `reclaim` can find it."""
    settings: object
    """The process's `Settings`; typed as object so that a backend outside this package need not import it."""
    slots: Slots | None = None
    """Networks for sandboxes, open for as long as the backend is used. None: there are none to be had."""


@runtime_checkable
class Backend(Protocol):
    """One way to isolate. Stateless between calls but for what it caches from `probe`."""

    name: str
    isolation: Isolation

    async def probe(self) -> Capabilities:
        """Say what this host can do, by trying it under a time limit. Never raises for a lacking host.

        Called at the start, and again while something is lacking; what works meanwhile is not to be disturbed.
        """
        ...

    def pool_spec(self, spec: SandboxSpec) -> SandboxSpec:
        """What is booted for a request of `spec`: requests with the same answer share one pool.

        What it leaves out (such as sizes that can be set when a sandbox is taken), `Sandbox.run` sets from its job.
        `start` stays as it is: who asks for a boot of his own gets no sandbox that waited.
        Pure, and idempotent: the answer is its own answer.
        """
        ...

    def warm(self) -> Mapping[SandboxSpec, int]:
        """How many sandboxes should wait, by pool spec. Asked after a `probe` that said yes."""
        ...

    async def prepare(self, spec: SandboxSpec) -> AbstractContextManager[object] | None:
        """Have here what a boot of this spec needs and what may take long to come by, such as an image.

        What is returned, if anything, keeps it here, and is left when the workload needs no further boot.

        Called before every sandbox is asked for, so cheap if there is nothing to do; keeps time limits of its own, and
        is cancelled if its workload is. Raises Unavailable.
        """
        ...

    def boot(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Sandbox]:
        """A READY sandbox; leaving the context kills it, verifies its death and removes all it left.

        Raises StartFailed (worth one more try) or Unavailable (not worth one). Only after a `probe` that said yes.
        """
        ...

    async def reclaim(self) -> int:
        """Remove what a dead process of this node left behind; how many sandboxes that were. Idempotent.

        Called once at start, beside `probe` and the first boots, which never meet what is still being removed; never
        touches what is not this node's.
        """
        ...


@runtime_checkable
class Closing(Protocol):
    """A backend that keeps something of its own beside the sandboxes it boots."""

    async def close(self) -> None:
        """Let go of it, and return when nothing is left. After the last sandbox; the backend may be used again."""
        ...
