"""Runs a program of the suite as a process of the host, which is what every isolation is measured against.

Only ever the suite's own programs: what a user sent is not run outside a sandbox.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from caisson.compare.suite import Program
from caisson.errors import CaissonError
from caisson.host.process import SAFE_ENV, run
from caisson.model import Runtime

BUILD_TIMEOUT_S = 120
RUN_TIMEOUT_S = 60


class NoProcess(CaissonError):
    """This host cannot run the program as a process."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A program ready to be started again and again."""

    argv: Sequence[str]
    folder: Path

    async def run(self) -> float:
        """Start it and see it end: how long that took, in milliseconds. Raises CommandFailed."""
        began_at = perf_counter()
        await run(self.argv, env=_env(self.folder), timeout_s=RUN_TIMEOUT_S)
        return (perf_counter() - began_at) * 1000


@asynccontextmanager
async def prepared(program: Program) -> AsyncIterator[Bare]:
    """The program, compiled where its language is. Raises NoProcess where the host has nothing to run it with."""
    if not program.trusted:
        raise NoProcess("only programs of the suite are run outside a sandbox")
    with tempfile.TemporaryDirectory(prefix="caisson-bare-") as name:
        folder = Path(name)
        yield Bare(await _ARGV[program.spec.runtime](program.spec.code or "", folder), folder)


def _env(folder: Path) -> dict[str, str]:
    return {**SAFE_ENV, "HOME": str(folder), "DENO_DIR": str(folder), "NO_COLOR": "1"}


def _find(name: str) -> str:
    path = shutil.which(name, path=SAFE_ENV["PATH"])
    if path is None:
        raise NoProcess(f"this host has no `{name}` to run it as a process")
    return path


def _written(folder: Path, name: str, code: str) -> str:
    path = folder / name
    path.write_text(code)
    return str(path)


async def _python(code: str, folder: Path) -> Sequence[str]:
    return _find("python3"), _written(folder, "main.py", code)


async def _node(code: str, folder: Path) -> Sequence[str]:
    from deno import find_deno_bin

    script = _written(folder, "main.js", code)
    if node := shutil.which("node", path=SAFE_ENV["PATH"]):
        return node, script
    return find_deno_bin(), "run", "--no-config", script


async def _bash(code: str, folder: Path) -> Sequence[str]:
    return _find("bash"), _written(folder, "main.sh", code)


async def _go(code: str, folder: Path) -> Sequence[str]:
    binary = str(folder / "main")
    await run(
        (_find("go"), "build", "-o", binary, _written(folder, "main.go", code)),
        env=_env(folder),
        timeout_s=BUILD_TIMEOUT_S,
    )
    return (binary,)


async def _none(code: str, folder: Path) -> Sequence[str]:
    raise NoProcess("the host does not run this kind of program by itself")


_ARGV: dict[Runtime, Callable[[str, Path], Awaitable[Sequence[str]]]] = {
    Runtime.PYTHON: _python,
    Runtime.NODE: _node,
    Runtime.BASH: _bash,
    Runtime.GO: _go,
    Runtime.WASM: _none,
    Runtime.OCI: _none,
}
