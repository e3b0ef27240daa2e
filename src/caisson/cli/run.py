"""`caisson run`: send code, show what it says while it runs, end as it ended."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caisson.cli import inputs, quantities
from caisson.cli.failing import FAILED, KILLED, TIMED_OUT, complain
from caisson.cli.options import Api, ApiKey, Json, connected
from caisson.cli.source import Source, Undecided, read_source, read_stdin
from caisson.model import IsolationChoice, Reason, Runtime, Status

if TYPE_CHECKING:
    from caisson.client import Workload

LIMITS_PANEL = "Limits"


def run(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="FILE|DIR|-", help="A file, a project folder, a tar.gz, or - for standard input."),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS", help="The program's arguments, or the image's command; behind -- if they look like options."
        ),
    ] = None,
    runtime: Annotated[Runtime | None, typer.Option(help="Its language. Default: what its name says.")] = None,
    entrypoint: Annotated[
        str | None, typer.Option(metavar="PATH", help="The file to start with. Default: main.*, index.*, the only one.")
    ] = None,
    isolation: Annotated[
        IsolationChoice, typer.Option(help="What stands between it and the host.")
    ] = IsolationChoice.AUTO,
    input: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE|-", help="Input: JSON text, a file of it, or standard input.")
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Give it this command's standard input.")] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="K[=V]", help="Environment; K alone is taken from here.")
    ] = None,
    arg: Annotated[list[str] | None, typer.Option(metavar="ARG", help="One argument of the program.")] = None,
    image: Annotated[str | None, typer.Option(metavar="NAME", help="Run this OCI image instead of code.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=quantities.seconds, metavar="TIME", help="Time: 30, 90s, 5m.", rich_help_panel=LIMITS_PANEL
        ),
    ] = None,
    mem: Annotated[
        int | None,
        typer.Option(
            parser=quantities.mebibytes, metavar="SIZE", help="Memory: 256, 512m, 2g.", rich_help_panel=LIMITS_PANEL
        ),
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(metavar="N", help="Processors: 0.5, 2.", rich_help_panel=LIMITS_PANEL)
    ] = None,
    disk: Annotated[
        int | None,
        typer.Option(
            parser=quantities.mebibytes, metavar="SIZE", help="Disk: 256, 512m, 2g.", rich_help_panel=LIMITS_PANEL
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="none|egress|DEST",
            help="What it may reach: nothing, the world, or only DEST (CIDR, name or host:port; repeatable).",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label to find it by.")] = None,
    retries: Annotated[
        int, typer.Option(min=0, max=10, help="How often to begin anew when it was not its own fault.")
    ] = 0,
    idempotent: Annotated[
        bool, typer.Option("--idempotent", help="Begin anew also after its code may have begun.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and do not wait.")] = False,
    json: Json = False,
    api: Api = None,
    api_key: ApiKey = None,
) -> None:
    """Run a file, a folder or an image, and end as it ended.

    Its log appears as it is written; its output follows as JSON on stdout.

    With --json the finished workload is what stands on stdout, and the log goes to stderr.

    Exit code: the program's; 124 timeout; 137 killed or out of memory; 1 other failures; 3 refused; 4 no server.
    """
    inputs.claim_stdin(source=source == "-", json=input == "-", stdin=stdin)
    given = arguments or []
    options: dict[str, Any] = {
        "isolation": isolation,
        "env": inputs.environment(env or []),
        "labels": inputs.labels(label or []),
        "network": inputs.network(network),
        "timeout_s": timeout,
        "mem_mb": mem,
        "cpus": cpus,
        "disk_mb": disk,
        "retries": retries,
        "idempotent": idempotent,
    }
    if image is not None:
        command = ([source] if source is not None else []) + given
        options |= {"runtime": runtime or Runtime.OCI, "image": image, "command": command or None, "args": arg}
    else:
        options |= _code(_source(source, runtime, entrypoint)) | {"args": (arg or []) + given}
    if input is not None:
        options["input"] = inputs.json_input(input)
    if stdin:
        options["stdin"] = inputs.text_from_stdin()
    with connected(ctx, api, api_key) as client:
        # The key makes it safe to send again when the connection breaks before the answer.
        workload = client.submit(idempotency_key=str(uuid.uuid4()), **options)
        if not detach:
            from caisson.cli.attending import attend

            workload = attend(client, workload, sys.stderr if json else sys.stdout)
    _report(workload, detach=detach, json=json)


def _source(source: str | None, runtime: Runtime | None, entrypoint: str | None) -> Source:
    if source is None:
        raise typer.BadParameter("name a file, a folder or - (or an image with --image)")
    try:
        if source == "-":
            return read_stdin(sys.stdin.buffer.read(), runtime, entrypoint)
        return read_source(Path(source), runtime, entrypoint)
    except Undecided as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"{source} cannot be read: {error.strerror}") from error


def _code(source: Source) -> dict[str, Any]:
    return {
        "runtime": source.runtime,
        "entrypoint": source.entrypoint,
        "code": source.code,
        "files": source.files,
        "archive": source.archive,
    }


def _report(workload: Workload, *, detach: bool, json: bool) -> None:
    from caisson.cli.terminal import harmless, print_json

    if json:
        print_json(workload)
    elif detach:
        typer.echo(workload.id)
    elif workload.output is not None:
        print_json(workload.output)
    if detach:
        return
    if workload.error:
        complain(f"{workload.error.reason}: {harmless(workload.error.message)}")
    if sys.stderr.isatty():
        _summarise(workload)
    raise typer.Exit(exit_code(workload))


def _summarise(workload: Workload) -> None:
    from caisson.cli.terminal import console

    parts = [workload.status, workload.isolation_used, workload.start]
    took = f"{workload.duration_ms} ms" if workload.duration_ms is not None else None
    console(stderr=True).print(" · ".join(part for part in [*parts, took] if part), style="dim")


def exit_code(workload: Workload) -> int:
    """The exit code that says how `workload` ended."""
    reason = workload.error.reason if workload.error else None
    if reason is Reason.TIMEOUT:
        return TIMED_OUT
    if reason is Reason.OUT_OF_MEMORY or workload.status is Status.KILLED:
        return KILLED
    if workload.status is Status.COMPLETED:
        return workload.exit_code or 0
    return workload.exit_code or FAILED
