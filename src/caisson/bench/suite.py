"""The measurements: what is run, how often, and what was promised of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from deno import find_deno_bin

from caisson.bench.figure import Figure, Row, Unmeasured
from caisson.bench.load import Sample, first_line_delays_ms, run_workloads
from caisson.bench.peers import deno_run, find_workerd, worker_loader
from caisson.bench.server import running_server
from caisson.host.facts import resident_mb

FUNCTION = {"runtime": "node", "code": "export default (input) => input.a + 1", "input": {"a": 1}}
PROGRAM = "const handler = (input) => input.a + 1; console.log(handler({ a: 1 }));"
NOOP_PLUGIN = Path(__file__).resolve().parents[3] / "tests" / "plugins" / "noop"


async def measure(scale: float) -> AsyncIterator[Row]:
    """Every figure, as it becomes known, or why there is none. `scale` multiplies the number of runs."""

    def runs(count: int) -> int:
        return max(10, int(count * scale))

    async with running_server(backends="isolate") as server:
        if (lacking := server.lacks("isolate", "node")) is not None:
            yield Unmeasured("isolate", lacking)
            return
        yield Figure.at_most("idle server, resident", resident_mb(server.pid), "MB", 120)
        # With a pause the pool refills in between, as it does for a user who types; without, the clients race it.
        warm = await run_workloads(server.port, FUNCTION, clients=1, count=runs(300), pause_s=0.1, start="warm")
        yield Figure.at_most("warm, one client, p50", warm.percentile(0.5), "ms", 3)
        yield Figure.at_most("warm, one client, p99", warm.percentile(0.99), "ms", 15)
        delays = Sample(list(await first_line_delays_ms(server.port, runs(50))))
        yield Figure.at_most("first log line at a reader, p50", delays.percentile(0.5), "ms", 20)
        yield Figure.at_most("first log line at a reader, p99", delays.percentile(0.99), "ms", 20)
    async with running_server(backends="isolate") as server:
        busy = await run_workloads(server.port, FUNCTION, clients=8, count=runs(1_500))
        yield Figure.at_least("one-shot workloads, 8 clients", busy.per_second, "/s", 50)
        yield Figure("one-shot workloads, 8 clients, p50", busy.percentile(0.5), "ms")
        yield Figure("one-shot workloads, 8 clients, p99", busy.percentile(0.99), "ms")
    async with running_server(backends="isolate", warm_node=0) as server:
        cold = await run_workloads(server.port, FUNCTION, clients=1, count=runs(100), pause_s=0.05)
        yield Figure.at_most("cold, one client, p50", cold.percentile(0.5), "ms", 60)
        yield Figure("cold, one client, p99", cold.percentile(0.99), "ms")
    if NOOP_PLUGIN.exists():
        async with running_server(plugins=NOOP_PLUGIN, backends="noop", warm_node=0) as server:
            await run_workloads(server.port, FUNCTION, clients=32, count=runs(2_000))
            noop = await run_workloads(server.port, FUNCTION, clients=32, count=runs(20_000))
            yield Figure.at_least("durable workloads, no sandbox, 32 clients", noop.per_second, "/s", 3_000)
    bare = await deno_run(find_deno_bin(), PROGRAM, runs(50))
    yield Figure("`deno run` of the same code, p50", bare.percentile(0.5), "ms")
    yield Figure("cold ÷ `deno run`", cold.percentile(0.5) / bare.percentile(0.5), "times")
    yield Figure("warm ÷ `deno run`", warm.percentile(0.5) / bare.percentile(0.5), "times")
    if workerd := find_workerd():
        loader = await worker_loader(workerd, runs(300))
        yield Figure("workerd's worker loader, p50", loader.percentile(0.5), "ms")
        yield Figure("warm ÷ worker loader", warm.percentile(0.5) / loader.percentile(0.5), "times")
