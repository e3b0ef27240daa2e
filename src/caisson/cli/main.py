"""The `caisson` command: what it is made of, and how it starts.

Each command imports what it needs when it runs, so that `caisson --help` shows at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from caisson.cli import backup, bench, doctor, images, keys, reading, run, serve, tenants
from caisson.cli.options import Api, ApiKey, Server

app = typer.Typer(
    name="caisson",
    help="Run code nobody has to trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from caisson import __version__

        typer.echo(f"caisson {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    api: Api = None,
    api_key: ApiKey = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Run code nobody has to trust."""
    ctx.obj = Server(api, api_key)


app.command("serve")(serve.serve)
app.command("run")(run.run)
app.command("logs")(reading.logs)
app.command("status")(reading.status)
app.command("ls")(reading.ls)
app.command("kill")(reading.kill)
app.command("nodes")(reading.nodes)
app.command("backends")(reading.backends)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.add_typer(images.app, name="images")
app.add_typer(keys.app, name="keys")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(tenants.app, name="tenants")
app.command("audit")(reading.audit)


def main() -> None:
    """Entry point of the `caisson` script."""
    for stream in (sys.stdout, sys.stderr):
        # A program's output may hold what this terminal's encoding cannot say; that must not end the command.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # both are text streams in a script
    app()
