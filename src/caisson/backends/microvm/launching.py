"""How a job begins in a machine, and what waits there for it."""

from __future__ import annotations

from caisson.model import Runtime
from caisson.sandbox.contract import Job
from caisson.sandbox.launch import ENVIRONMENT, Launch

_PROGRAMS = {
    Runtime.PYTHON: ("python3",),
    Runtime.BASH: ("bash",),
    Runtime.NODE: ("node",),
    Runtime.GO: ("go", "run"),
}


def harness_of(runtime: Runtime) -> tuple[str, ...]:
    """What is started ahead of the job: nothing yet."""
    return ()


def launch_of(job: Job) -> Launch:
    """The entrypoint as a program."""
    return Launch(argv=(*_PROGRAMS[job.runtime], job.entrypoint), env={**ENVIRONMENT, **job.env})
