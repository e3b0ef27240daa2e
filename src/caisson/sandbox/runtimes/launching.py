"""From a job to how it begins in a sandbox with the agent, and what waits there before there is a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from caisson.errors import ImageNotFound, StartFailed
from caisson.model import Runtime
from caisson.sandbox.contract import Job
from caisson.sandbox.launch import ENVIRONMENT, INSIDE, Launch, Program
from caisson.sandbox.runtimes.bash import PROGRAM as BASH_PROGRAM
from caisson.sandbox.runtimes.go import BINARY_PATH, BUILD_SCRIPT, INPUT_PATH
from caisson.sandbox.runtimes.planning import RUNTIMES

READY_FIRST = "--ready-first"
"""Has a harness say READY before it has done everything that makes it quick; it does the rest when nothing comes."""


def harness_command(
    runtime: Runtime, folder: Path | PurePosixPath | str = INSIDE, *, ready_first: bool = False
) -> tuple[str, ...]:
    """What follows `--harness` on the agent's command line: the interpreter that waits; empty if the runtime has none.

    `folder` is where the sandbox sees the guest's folder.
    """
    language = RUNTIMES[runtime]
    if not language.harness:
        return ()
    return (*language.interpreter, f"{folder}/{language.harness}", *((READY_FIRST,) if ready_first else ()))


def launch(job: Job, env: Mapping[str, str] = ENVIRONMENT) -> Launch:
    """How the agent begins a job of a language; for go the binary must lie at `BINARY_PATH`.

    `env` is what the image wants in the environment; the user's own variables come on top.
    """
    if job.runtime in (Runtime.PYTHON, Runtime.NODE):
        return Launch(entrypoint=job.entrypoint, args=job.args, env=job.env)
    variables = {**env, **job.env}
    if job.runtime is Runtime.BASH:
        # `--` and a path that cannot be an option; the name is what `$0` shows.
        return Launch(argv=(BASH_PROGRAM, "--", job.entrypoint, *job.args), env=variables)
    if job.runtime is Runtime.GO:
        programs = () if job.stdin is None else (Program(INPUT_PATH, job.input, 0o644),)
        return Launch(argv=(f"./{BINARY_PATH}", *job.args), env=variables, programs=programs)
    raise StartFailed(f"a sandbox with the agent has no way to run {job.runtime}")


def launch_build(job: Job, env: Mapping[str, str], folder: str = INSIDE) -> Launch:
    """How the agent compiles a job of go. What it makes is the result, and lies at `BINARY_PATH`."""
    return Launch(argv=("/bin/sh", f"{folder}/{BUILD_SCRIPT}", job.entrypoint), env=env, output_path=BINARY_PATH)


def launch_image(
    job: Job,
    *,
    entrypoint: tuple[str, ...] = (),
    cmd: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    workdir: str = "",
) -> Launch:
    """How a job begins in an image from a registry, of which these are the settings.

    As with `docker run`: the user's `command` takes the place of CMD and goes to ENTRYPOINT; `args` follow it. Raises
    ImageNotFound if neither names a program.
    """
    argv = (*entrypoint, *(job.command or cmd), *job.args)
    if not argv:
        raise ImageNotFound("the image names no program to run; give one as `command`")
    variables = {"PATH": ENVIRONMENT["PATH"], "HOME": "/", **(env or {}), **job.env}
    return Launch(argv=argv, env=variables, cwd=workdir or "/", users_choice=True)
