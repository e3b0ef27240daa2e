"""gVisor's figures: through HTTP as a user sees them, beside bare runsc in the same run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from caisson.bench.figure import Figure, Row, Unmeasured
from caisson.bench.load import LoadError, Sample, run_workloads
from caisson.bench.memory import waiting_mb
from caisson.bench.server import NONE_WARM, running_server
from caisson.settings import Settings

PYTHON = {
    "runtime": "python",
    "isolation": "gvisor",
    "code": "def handler(input): return input['a'] + 1",
    "input": {"a": 1},
}
NODE = {
    "runtime": "node",
    "isolation": "gvisor",
    "code": "export default (input) => input.a + 1",
    "input": {"a": 1},
}
GO = {
    "runtime": "go",
    "isolation": "gvisor",
    "code": 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n',
}
_PAUSE_S = 1.0
"""Longer than a successor takes to boot."""
_TEARDOWN_S = 0.3
_READY = b"ready"


async def measure_gvisor(scale: float) -> AsyncIterator[Row]:
    """Every figure, as it becomes known, or why there is none. `scale` multiplies the number of runs."""

    def runs(count: int) -> int:
        return max(5, int(count * scale))

    images = Settings().images_folder.absolute()
    given: dict[str, Any] = {**NONE_WARM, "backends": "gvisor", "images_dir": str(images)}
    async with running_server(**given) as server:
        if (lacking := server.lacks("gvisor", "python")) is not None:
            yield Unmeasured("gVisor", lacking)
            return
        lacks = {runtime: server.lacks("gvisor", runtime) for runtime in ("node", "go")}
        # A request that cannot be carried out tells so at once.
        await run_workloads(server.port, PYTHON, clients=1, count=1)
        # Bare runsc is seen to end before the next begins; without a pause, ours would still be torn down then.
        cold = await run_workloads(server.port, PYTHON, clients=1, count=runs(40), pause_s=_TEARDOWN_S)
    bare = await bare_runsc(images, runs(40))
    yield Figure.at_most("gVisor, cold Python, p50", cold.percentile(0.5), "ms", 300)
    if bare is not None:
        yield Figure("bare `runsc run` to ready Python, p50", bare.percentile(0.5), "ms")
        ratio = cold.percentile(0.5) / bare.percentile(0.5)
        yield Figure.at_most("gVisor, cold Python ÷ bare runsc", ratio, "times", 1.4)
    for name, request, setting in (("Python", PYTHON, "warm_python"), ("Node.js", NODE, "warm_gvisor_node")):
        if (lacking := lacks.get(str(request["runtime"]))) is not None:
            yield Unmeasured(f"gVisor, warm {name}", lacking)
            continue
        async with running_server(**{**given, setting: 2}) as server:
            # The first ones as well are to have waited until their interpreters had done all they do ahead.
            await asyncio.sleep(_PAUSE_S)
            warm = await run_workloads(server.port, request, clients=1, count=runs(60), pause_s=_PAUSE_S, start="warm")
            yield Figure.at_most(f"gVisor, warm {name}, one client, p50", warm.percentile(0.5), "ms", 4)
            yield Figure.at_most(f"gVisor, warm {name}, one client, p99", warm.percentile(0.99), "ms", 20)
            yield Figure(f"gVisor, memory of a sandbox that waits for {name}", waiting_mb(server.pid) / 2, "MB")
    if (lacking := lacks["go"]) is not None:
        yield Unmeasured("gVisor, warm Go", lacking)
    else:
        async with running_server(**{**given, "warm_go": 2}) as server:
            await run_workloads(server.port, GO, clients=1, count=1)
            compiled = await run_workloads(server.port, GO, clients=1, count=runs(30), pause_s=_PAUSE_S, start="warm")
            yield Figure.at_most("gVisor, warm Go compiled before, p50", compiled.percentile(0.5), "ms", 60)
    async with running_server(**{**given, "warm_python": 2}) as server:
        busy = await run_workloads(server.port, PYTHON, clients=4, count=runs(100))
        yield Figure.at_least("gVisor, one-shot Python, 4 clients", busy.per_second, "/s", 5)
    many = await bare_runsc(images, runs(60), at_once=2)
    if many is not None:
        yield Figure("bare `runsc run` of Python, 2 at once", many.per_second, "/s")
        yield Figure("gVisor, one-shot Python ÷ bare runsc", busy.per_second / many.per_second, "times")


@dataclass(frozen=True, slots=True)
class _Bundle:
    """A folder to run a bare Python from."""

    folder: Path
    state: Path
    platform: str


async def bare_runsc(images: Path, count: int, at_once: int = 1) -> Sample | None:
    """Start Python under runsc alone until it says that it is ready; None where this host cannot."""
    root = images / "python" / "current" / "root"
    if shutil.which("runsc") is None or not root.is_dir():
        return None
    sample = Sample()
    left = iter(range(count))

    async def client(bundle: _Bundle) -> None:
        for number in left:
            sample.latencies_ms.append(await _once(bundle, f"bare-{os.getpid()}-{number}"))

    async with _bundle(root.resolve()) as bundle:
        began_at = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(client(bundle))
        sample.elapsed_s = perf_counter() - began_at
    return sample


@asynccontextmanager
async def _bundle(root: Path) -> AsyncIterator[_Bundle]:
    with tempfile.TemporaryDirectory(prefix="caisson-bare-") as name:
        folder = Path(name)
        flags = await asyncio.create_subprocess_exec(
            "runsc", "flags", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        told, _ = await flags.communicate()
        config = {
            "ociVersion": "1.0.2",
            "root": {"path": str(root), "readonly": True},
            "process": {
                "user": {"uid": 65534, "gid": 65534},
                "cwd": "/",
                "args": ["python3", "-I", "-c", "print('ready', flush=True); input()"],
                "env": ["PATH=/usr/bin:/bin"],
            },
            "linux": {"namespaces": [{"type": each} for each in ("pid", "network", "ipc", "uts", "mount")]},
        }
        (folder / "config.json").write_text(json.dumps(config))
        yield _Bundle(folder, folder / "state", "systrap" if b"systrap" in told else "ptrace")


async def _once(bundle: _Bundle, name: str) -> float:
    options = [f"--root={bundle.state}", f"--platform={bundle.platform}", "--network=none", "--ignore-cgroups"]
    began_at = perf_counter()
    process = await asyncio.create_subprocess_exec(
        *("runsc", *options, "run", f"--bundle={bundle.folder}", name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a pipe was asked for and not made")
    line = await process.stdout.readline()
    took_ms = (perf_counter() - began_at) * 1000
    process.stdin.write(b"\n")
    await process.communicate()
    if _READY not in line:
        raise LoadError(f"bare runsc did not start Python: {line!r}")
    return took_ms
