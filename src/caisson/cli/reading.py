"""Commands that ask a server and show what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from caisson.cli.options import Api, ApiKey, Json, WorkloadId, connected
from caisson.model import IsolationChoice, LogLine, Runtime, Status, Stream

if TYPE_CHECKING:
    from caisson.client import Client


def status(ctx: typer.Context, id: WorkloadId, json: Json = False, api: Api = None, api_key: ApiKey = None) -> None:
    """Show one workload."""
    from caisson.cli import tables, terminal

    with connected(ctx, api, api_key) as client:
        workload = client.get(id)
    if json:
        terminal.print_json(workload)
    else:
        terminal.show(tables.workload(workload))


def ls(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many.")] = 20,
    status: Annotated[Status | None, typer.Option(help="Only these.")] = None,
    isolation: Annotated[IsolationChoice | None, typer.Option(help="Only these.")] = None,
    runtime: Annotated[Runtime | None, typer.Option(help="Only these.")] = None,
    label: Annotated[str | None, typer.Option(metavar="NAME[=VALUE]", help="Only these.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended (its `next_cursor`).")] = None,
    json: Json = False,
    api: Api = None,
    api_key: ApiKey = None,
) -> None:
    """List workloads, newest first."""
    from caisson.cli import tables, terminal

    with connected(ctx, api, api_key) as client:
        page = client.page(limit=limit, cursor=cursor, status=status, isolation=isolation, runtime=runtime, label=label)
    if json:
        terminal.print_json(page)
        return
    terminal.show(tables.workloads(page.workloads, terminal.console().width))
    if page.next_cursor and sys.stdout.isatty():
        terminal.console().print(
            f"{len(page.workloads)} of {page.total}; next: --cursor {page.next_cursor}", style="dim"
        )


def logs(
    ctx: typer.Context,
    id: WorkloadId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the workload ends.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each line as JSON, with its number and time.")] = False,
    api: Api = None,
    api_key: ApiKey = None,
) -> None:
    """Show a workload's log: its stdout on stdout, its stderr on stderr."""
    from caisson.cli.terminal import print_json, write_line

    with connected(ctx, api, api_key) as client:
        for line in client.logs(id) if follow else _stored(client, id):
            if json:
                print_json(line)
            else:
                write_line(sys.stdout if line.stream is Stream.STDOUT else sys.stderr, line.line)


def _stored(client: Client, workload_id: str) -> Iterator[LogLine]:
    after = -1
    while (page := client.history(workload_id, after=after)).lines:
        yield from page.lines
        after = page.next_seq


def kill(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The workloads' ids.")],
    json: Json = False,
    api: Api = None,
    api_key: ApiKey = None,
) -> None:
    """Kill workloads; returns when they are verified dead."""
    from caisson.cli.terminal import print_json

    with connected(ctx, api, api_key) as client:
        for id in ids:
            workload = client.kill(id)
            if json:
                print_json(workload)
            else:
                typer.echo(f"{workload.id} {workload.status}")


def nodes(ctx: typer.Context, json: Json = False, api: Api = None, api_key: ApiKey = None) -> None:
    """Show the nodes, what they have and what is in use."""
    from caisson.cli import tables, terminal

    with connected(ctx, api, api_key) as client:
        found = client.nodes()
    if json:
        terminal.print_json(found)
    else:
        terminal.show(tables.nodes(found))


def backends(ctx: typer.Context, json: Json = False, api: Api = None, api_key: ApiKey = None) -> None:
    """Show what each isolation can do on the server."""
    from caisson.cli import tables, terminal

    with connected(ctx, api, api_key) as client:
        found = client.backends()
    if json:
        terminal.print_json(found)
    else:
        terminal.show(*(tables.backend(backend) for backend in found))


def audit(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="Only entries before this number.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant's.")] = None,
    actor: Annotated[str | None, typer.Option(metavar="KEY", help="Only what this one did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, such as workload.kill.")] = None,
    json: Json = False,
    api: Api = None,
    api_key: ApiKey = None,
) -> None:
    """Show who did what, newest first."""
    from caisson.cli import tables, terminal

    with connected(ctx, api, api_key) as client:
        page = client.audit(limit=limit, before=before, tenant=tenant, actor=actor, action=action)
    if json:
        terminal.print_json(page)
    else:
        terminal.show(tables.audit(page.entries))
