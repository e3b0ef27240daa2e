"""Runs one job in a sandbox of a backend and collects what came out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caisson.errors import SandboxError
from caisson.model import Resources, Runtime, Usage
from caisson.sandbox.contract import Backend, Job, SandboxSpec
from caisson.sandbox.runtimes import RUNTIMES
from tests.helpers.shown import Shown


@dataclass(slots=True)
class Ran(Shown):
    """What a run in a sandbox showed."""

    timed_out: bool = False
    usage: Usage = field(default_factory=Usage)


def job(
    code: str | bytes | Mapping[str, str | bytes],
    *,
    input: object = None,
    runtime: Runtime = Runtime.NODE,
    entrypoint: str | None = None,
    **rest: Any,
) -> Job:
    """A job; a single `code` becomes the usual entry file."""
    default = RUNTIMES[runtime].code_file
    named = code if isinstance(code, Mapping) else {default: code}
    files = {name: text.encode() if isinstance(text, str) else text for name, text in named.items()}
    rest.setdefault("resources", Resources())
    return Job("job", runtime, entrypoint or default, files=files, input=json.dumps(input).encode(), **rest)


async def carry_out(backend: Backend, job: Job, timeout_s: float = 20) -> Ran:
    """Boot, run, and tear down."""
    ran = Ran()
    sizes = job.resources
    spec = SandboxSpec(job.runtime, sizes.mem_mb, sizes.disk_mb, job.network, job.image, sizes.cpus)
    async with backend.boot(backend.pool_spec(spec)) as sandbox:
        try:
            async with asyncio.timeout(timeout_s):
                async for event in sandbox.run(job):
                    ran.events.append(event)
        except TimeoutError:
            ran.timed_out = True
        except SandboxError as error:
            ran.failure = error
        ran.usage = sandbox.usage()
    return ran


def run_job(backend: Backend, job: Job, timeout_s: float = 20) -> Ran:
    """`carry_out` in a loop of its own."""
    return asyncio.run(carry_out(backend, job, timeout_s))
