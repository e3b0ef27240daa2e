"""`caisson bench`: has a server compare its isolations, and shows what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from caisson.benchmark import MAX_CLIENTS, MAX_RUNS, Benchmark, BenchmarkProgress, BenchmarkRequest, BenchmarkStatus
from caisson.cli import inputs
from caisson.cli.failing import FAILED, complain
from caisson.cli.options import Api, ApiKey, Json, connected
from caisson.model import Isolation, Runtime

if TYPE_CHECKING:
    from caisson.client import Client


def bench(
    ctx: typer.Context,
    isolation: Annotated[list[Isolation] | None, typer.Option(help="Only this one; repeatable.")] = None,
    runtime: Annotated[
        list[Runtime] | None, typer.Option(help="Of the suite, only programs in this language; repeatable.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=MAX_RUNS, help="Samples of each kind of start.")] = 10,
    clients: Annotated[int, typer.Option(min=1, max=MAX_CLIENTS, help="Clients at once for the throughput.")] = 4,
    request: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE|-", help="The whole request, as the HTTP API takes it.")
    ] = None,
    show: Annotated[str | None, typer.Option(metavar="ID", help="Show a benchmark that is there.")] = None,
    every: Annotated[bool, typer.Option("--list", help="List the benchmarks that are there.")] = False,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the results as CSV.")] = False,
    api: Api = None,
    api_key: ApiKey = None,
) -> None:
    """Compare the isolations: starts, execution, throughput, memory, overhead against a bare process.

    Ctrl-C cancels it; what was measured before is kept. Exits with 1 if it did not complete.
    """
    from caisson.cli import tables, terminal

    with connected(ctx, api, api_key) as client:
        if every:
            page = client.benchmarks(limit=50)
            terminal.print_json(page) if json else terminal.show(tables.benchmarks(page.benchmarks))
            return
        if show is not None:
            benchmark = client.get_benchmark(show)
        else:
            wanted = BenchmarkRequest(isolations=isolation, runtimes=runtime, runs=runs, clients=clients)
            benchmark = _attend(client, client.benchmark(_decoded(request) if request is not None else wanted))
    _report(benchmark, json=json, csv=csv)
    if benchmark.status in {BenchmarkStatus.FAILED, BenchmarkStatus.CANCELLED}:
        complain(f"the benchmark is {benchmark.status}" + (f": {benchmark.error}" if benchmark.error else ""))
        raise typer.Exit(FAILED)


def _decoded(text: str) -> BenchmarkRequest:
    import msgspec

    try:
        return msgspec.json.decode(inputs.json_input(text, "--request"), type=BenchmarkRequest)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"--request is no request for a benchmark: {error}") from error


def _attend(client: Client, benchmark: Benchmark) -> Benchmark:
    """Show how far it is until it ends, and return it as it is then. If we are stopped meanwhile, it is cancelled."""
    from caisson.cli.attending import Stopped, signals_raised
    from caisson.cli.terminal import console
    from caisson.client import ApiError

    try:
        with signals_raised(), console(stderr=True).status("measuring …") as status:
            for event in client.follow_benchmark(benchmark.id):
                if isinstance(event, BenchmarkProgress) and sys.stderr.isatty():
                    status.update(_progress(event))
            return client.get_benchmark(benchmark.id)
    except Stopped as stopped:
        try:
            client.cancel_benchmark(benchmark.id)
        except ApiError as error:
            if error.status != 409:
                raise
        typer.echo(f"stopped; `caisson bench --show {benchmark.id}` shows what was measured", err=True)
        raise typer.Exit(128 + stopped.number) from None


def _progress(progress: BenchmarkProgress) -> str:
    parts = [progress.program, progress.runtime, progress.subject, progress.measure]
    return f"{progress.done}/{progress.total} " + " · ".join(part.replace("_", " ") for part in parts if part)


def _report(benchmark: Benchmark, *, json: bool, csv: bool) -> None:
    from caisson.cli import tables, terminal

    if json:
        terminal.print_json(benchmark)
    elif csv:
        from caisson.benchmark import as_csv

        sys.stdout.write(as_csv(benchmark))
    else:
        out = terminal.console()
        out.print(" · ".join(f"{name}: {terminal.harmless(fact)}" for name, fact in benchmark.host.items()))
        terminal.show(tables.benchmark(benchmark))
        typer.echo(f"\nthe same again: {terminal.harmless(benchmark.command)}")
