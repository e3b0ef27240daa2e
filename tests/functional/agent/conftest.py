"""The agent, built once, and connections to it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from caisson.model import Runtime
from caisson.sandbox.agent import Renewal, renew
from caisson.sandbox.launch import ENVIRONMENT
from caisson.sandbox.runtimes import RUNTIMES
from caisson.sandbox.runtimes.launching import harness_command
from caisson.sandbox.runtimes.launching import launch as start_of
from tests.helpers.driving import Drove, agent_channel, drive
from tests.helpers.driving import job as make_job
from tests.helpers.guest import Guest, Launched, is_root, launched
from tests.helpers.images import IMAGES_DIR
from tests.helpers.worker import worker_number

GUEST = Path(__file__).resolve().parents[3] / "guest"
ESBUILD = IMAGES_DIR / "node/current/root/usr/bin/esbuild"
USER = 54_321 + (worker_number() or 0)
"""Nobody else's, nor another worker's: limits on the number of processes count those of a user."""


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's binary: the one in $CAISSON_TEST_AGENT, or built from the sources."""
    if given := os.environ.get("CAISSON_TEST_AGENT"):
        return Path(given).resolve()
    for tool in ("make", "musl-gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed, so the agent cannot be built")
    folder = tmp_path_factory.mktemp("guest")
    folder.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", GUEST, "native", f"BUILD={folder}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "caisson-agent"


@pytest.fixture(scope="session")
def inside() -> Iterator[Path]:
    """The harnesses, where the agent's user may read them, and the guest image's esbuild, where there is one."""
    with tempfile.TemporaryDirectory(prefix="caisson-inside-") as folder:
        Path(folder).chmod(0o755)
        for file in (GUEST.parent / "src/caisson/sandbox/inside").iterdir():
            if file.is_file() and file.name != "agent":
                shutil.copy(file, folder)
        if ESBUILD.is_file():
            shutil.copy(ESBUILD, folder)
        yield Path(folder)


@pytest.fixture
def work() -> Iterator[Path]:
    """A work folder that the agent's user may enter and write to; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="caisson-agent-") as folder:
        Path(folder).chmod(0o755)
        inner = Path(folder) / "work"
        inner.mkdir()
        if is_root():
            os.chown(inner, USER, USER)
        yield inner


@pytest.fixture
def launch(agent: Path, work: Path) -> Iterator[Callable[..., Launched]]:
    """Starts agents: `launch("--harness", …)`; each is gone at the test's end."""
    with ExitStack() as stack:

        def start(*arguments: str | Path, **options: object) -> Launched:
            user = ("--user", f"{USER}:{USER}") if is_root() else ()
            return stack.enter_context(launched(agent, "--work", work, *user, *arguments, **options))  # type: ignore[arg-type] # passed on as they are

        yield start


@pytest.fixture
def harnessed(agent: Path, work: Path, inside: Path) -> Callable[..., Drove]:
    """Runs code, or several files, on an agent with a waiting interpreter: `harnessed(runtime, code, …)`."""
    user = ("--user", f"{USER}:{USER}") if is_root() else ()

    def execute(
        runtime: Runtime,
        code: str | Mapping[str, str],
        *,
        renewals: int = 0,
        rehearsals: int = 0,
        options: tuple[str, ...] = (),
        **rest: Any,
    ) -> Drove:
        command = harness_command(runtime, inside)
        if shutil.which(command[0], path=ENVIRONMENT["PATH"]) is None:
            pytest.skip(f"{command[0]} is not installed")
        files = {RUNTIMES[runtime].code_file: code} if isinstance(code, str) else code
        job = make_job(files, runtime=runtime, **rest)

        env = {**ENVIRONMENT, "PATH": f"{ENVIRONMENT['PATH']}:{inside}"}
        arguments = ("--work", work, *user, "--harness", *command, *options)

        async def main() -> Drove:
            async with agent_channel(agent, *arguments, env=env) as channel:
                for _ in range(renewals):
                    await renew(channel, Renewal(entropy=None, set_clock=False, machine_id=None))
                for _ in range(rehearsals):
                    await renew(channel, Renewal(entropy=None, set_clock=False, machine_id=None, rehearse=True))
                return await drive(channel, job, start_of(job))

        return asyncio.run(main())

    return execute


@pytest.fixture
def guest(launch: Callable[..., Launched]) -> Guest:
    """A connection to an agent that is ready to start programs."""
    guest = launch().guest
    guest.shake_hands()
    return guest
