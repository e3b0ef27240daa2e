"""A backend that isolates nothing and runs nothing: for measuring the control plane, and for faults on demand.

Put this folder on PYTHONPATH and set CAISSON_BACKENDS=noop. What the workload's `code` says is done:
`sleep SECONDS`, `print TEXT`, `crash`, `hang`; anything else returns the input at once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager

from caisson.errors import SandboxCrashed
from caisson.model import Isolation, Runtime, StartKind, Stream, Usage
from caisson.sandbox.contract import (
    BackendContext,
    Capabilities,
    Event,
    Exited,
    Job,
    Output,
    Result,
    SandboxSpec,
)

_numbers = itertools.count()


class NoopSandbox:
    """Ready at once; dead when told."""

    def __init__(self, spec: SandboxSpec) -> None:
        self.id = f"noop-{next(_numbers)}"
        self.spec = spec
        self.start = StartKind.COLD

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """Do what the code says."""
        for line in job.files[job.entrypoint].decode().splitlines():
            match line.split(maxsplit=1):
                case ["sleep", seconds]:
                    await asyncio.sleep(float(seconds))
                case ["print", text]:
                    yield Output(Stream.STDOUT, text.encode() + b"\n")
                case ["crash"]:
                    raise SandboxCrashed("crashed as told")
                case ["hang"]:
                    await asyncio.Event().wait()
        yield Result(job.input)
        yield Exited(code=0)

    async def ping(self, timeout_s: float) -> bool:
        """Always well."""
        return True

    def usage(self) -> Usage:
        """Nothing was used."""
        return Usage()

    async def kill(self) -> None:
        """Nothing to end."""


class NoopBackend:
    """Stands in for the isolate backend."""

    name = "noop"
    isolation = Isolation.ISOLATE

    def __init__(self, context: BackendContext) -> None:
        self._context = context

    async def probe(self) -> Capabilities:
        """Runs JavaScript, it says."""
        return Capabilities(self.isolation, available=True, runtimes=frozenset({Runtime.NODE}))

    def pool_spec(self, spec: SandboxSpec) -> SandboxSpec:
        """One sandbox is like the other."""
        return SandboxSpec(spec.runtime, mem_mb=0, disk_mb=0)

    def warm(self) -> Mapping[SandboxSpec, int]:
        """None need wait."""
        return {}

    async def prepare(self, spec: SandboxSpec) -> AbstractContextManager[object] | None:
        """Nothing is needed."""
        return None

    @asynccontextmanager
    async def boot(self, spec: SandboxSpec) -> AsyncIterator[NoopSandbox]:
        """A sandbox without a wall."""
        yield NoopSandbox(spec)

    async def reclaim(self) -> int:
        """Nothing was left."""
        return 0
