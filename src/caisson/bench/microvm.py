"""Micro-VMs' figures: through HTTP as a user sees them, beside a bare boot of the same kernel in the same run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caisson.backends.microvm.sizes import size_class
from caisson.backends.microvm.vmm import Acceleration
from caisson.bench.bare_machine import bare_boots
from caisson.bench.figure import Figure, Row, Unmeasured
from caisson.bench.layers import compare_layers
from caisson.bench.load import Sample, run_workloads
from caisson.bench.memory import available_mb, waiting_kib
from caisson.bench.server import NONE_WARM, running_server
from caisson.errors import Unavailable
from caisson.images.catalog import Catalog
from caisson.model import Resources, Runtime
from caisson.sandbox.contract import SandboxSpec
from caisson.settings import Settings

FUNCTION: dict[str, Any] = {
    "runtime": "python",
    "isolation": "microvm",
    "code": "def handler(input): return input['a'] + 1",
    "input": {"a": 1},
}
BUSY: dict[str, Any] = {
    "runtime": "python",
    "isolation": "microvm",
    "code": "def handler(rounds):\n    kept = 0\n    for each in range(rounds): kept ^= each\n    return kept\n",
}
CLONES = 32
_CLONE_MB = 96
"""More than a stopped clone was ever seen to take."""
_PAUSE_S = 1.0
"""Longer than a successor takes to be there and stopped."""
_TEARDOWN_S = 0.3
_STOPPED_S = 2.0


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised in milliseconds for the median, and how much work it takes for a start to be little beside it.

    Of two copies that run, each has a processor, but the next ones' interpreters are started meanwhile.
    """

    waiting: float
    fresh: float
    cold: float
    rounds: int


PROMISES = {
    Acceleration.EMULATED: Promise(waiting=30, fresh=300, cold=3000, rounds=10_000_000),
    Acceleration.KVM: Promise(waiting=30, fresh=20, cold=250, rounds=20_000_000),
}


async def measure_microvm(scale: float) -> AsyncIterator[Row]:
    """Every figure, as it becomes known, or why there is none. `scale` multiplies the number of runs.

    Where there is no KVM, machines are emulated, whatever the settings say of that: every figure is named so.
    """

    def runs(count: int) -> int:
        return max(5, int(count * scale))

    images = Settings().images_folder.absolute()
    with tempfile.TemporaryDirectory(prefix="caisson-bench-") as name:
        folder = Path(name)
        given: dict[str, Any] = {
            **NONE_WARM,
            "backends": "microvm",
            "images_dir": str(images),
            "microvm_emulation": "true",
            # What was found out of KVM, and the saved machines, are for all servers of this run.
            "data_dir": str(folder / "data"),
            "templates_dir": str(folder / "templates"),
        }
        async with running_server(**given) as server:
            if (lacking := server.lacks("microvm", "python")) is not None:
                yield Unmeasured("micro-VM", lacking)
                return
            acceleration = Acceleration(server.told("microvm")["acceleration"])
            promise, name = PROMISES[acceleration], f"micro-VM ({acceleration})"
            # The first makes what the others are copies of.
            await run_workloads(server.port, FUNCTION, clients=1, count=1)
            fresh = await run_workloads(
                server.port, FUNCTION, clients=1, count=runs(60), pause_s=_TEARDOWN_S, start="restored"
            )
            row: Row
            for row in _percentiles(f"{name}, fresh clone, Python", fresh, promise.fresh):
                yield row
            busy = BUSY | {"input": promise.rounds}
            one = await run_workloads(server.port, busy, clients=1, count=runs(10))
            two = await run_workloads(server.port, busy, clients=2, count=2 * runs(10))
            ratio = two.per_second / one.per_second
            yield Figure.at_least(f"{name}, two clones at once ÷ one, busy Python", ratio, "times", 1.6)
        async with running_server(**{**given, "warm_microvm_python": 2}) as server:
            await asyncio.sleep(_STOPPED_S)
            waiting = await run_workloads(
                server.port, FUNCTION, clients=1, count=runs(60), pause_s=_PAUSE_S, start="warm"
            )
            for row in _percentiles(f"{name}, waiting clone, Python", waiting, promise.waiting):
                yield row
        async with running_server(**{**given, "microvm_snapshots": "false"}) as server:
            cold = await run_workloads(server.port, FUNCTION, clients=1, count=runs(30), pause_s=_TEARDOWN_S)
            for row in _percentiles(f"{name}, cold, Python", cold, promise.cold):
                yield row
        yield await _memory(name, given)
        size = size_class(SandboxSpec(Runtime.PYTHON, Resources().mem_mb, Resources().disk_mb))
        try:
            bare = await bare_boots(images, folder, acceleration, size, runs(30))
        except Unavailable as error:
            yield Unmeasured("bare QEMU, boot of the same kernel to its agent", error.message)
        else:
            yield Figure("bare QEMU, boot of the same kernel to its agent, p50", bare.percentile(0.5), "ms")
            for what, sample in (("waiting clone", waiting), ("fresh clone", fresh), ("cold", cold)):
                ratio = sample.percentile(0.5) / bare.percentile(0.5)
                yield Figure(f"{name}, {what}, Python ÷ bare boot", ratio, "times")
        image = Catalog(images).find("python")
        if image is not None:
            async for row in compare_layers(image.erofs, size.disk_mb, folder, runs(20)):
                yield row


def _percentiles(name: str, sample: Sample, limit_ms: float) -> list[Figure]:
    return [
        Figure.at_most(f"{name}, p50", sample.percentile(0.5), "ms", limit_ms),
        Figure(f"{name}, p99", sample.percentile(0.99), "ms"),
    ]


async def _memory(name: str, given: dict[str, Any]) -> Row:
    """All processes of a stopped clone, at 32 of them or as many as this machine has memory for."""
    clones = min(CLONES, available_mb() // _CLONE_MB)
    if clones < 1:
        return Unmeasured(f"{name}, memory of a stopped clone", f"this machine has less than {_CLONE_MB} MiB to spare")
    # The pools' usual share of memory is for fewer.
    async with running_server(**{**given, "warm_microvm_python": clones, "warm_memory_mb": available_mb()}) as server:
        await asyncio.sleep(_STOPPED_S)
        there = sum(pool["ready"] for pool in server.told("microvm")["pool"])
        mib = waiting_kib(server.pid) / 1024 / there
        return Figure.at_most(f"{name}, memory (PSS) of a stopped clone, of {there}", mib, "MiB", 25)
