"""`caisson doctor`: what this host can do, what is missing, and the command that adds it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from caisson.cli.failing import FAILED
from caisson.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from caisson.host.doctor import Finding
    from caisson.sandbox.contract import Capabilities
    from caisson.settings import Settings

_COLOURS = {"ok": "green", "limited": "yellow", "missing": "red"}


def doctor(json: Json = False) -> None:
    """Check this host: what can run here, what is missing, and the command that adds it.

    Works without a server. The exit code is 1 if no isolation can run anything here.
    """
    from caisson.cli import terminal
    from caisson.cli.serve import load_settings

    settings = load_settings()
    findings, isolations = asyncio.run(_examine(settings))
    able = [found for found in isolations if found.available]
    if json:
        terminal.print_json({"able": bool(able), "checks": findings, "isolations": isolations})
    else:
        names = ", ".join(f"{found.isolation} ({', '.join(sorted(found.runtimes))})" for found in able)
        summary = f"This host can run: {names}." if able else "This host can run nothing yet."
        terminal.show(_table(findings, isolations), "", summary)
    if not able:
        raise typer.Exit(FAILED)


async def _examine(settings: Settings) -> tuple[list[Finding], list[Capabilities]]:
    from caisson.backends import load_backends
    from caisson.host.doctor import examine
    from caisson.sandbox.contract import BackendContext

    findings = await examine(settings.data_dir, settings.runsc)
    with tempfile.TemporaryDirectory(prefix="caisson-doctor-") as folder:
        context = BackendContext(node_id="doctor", node_dir=Path(folder), settings=settings)
        backends = load_backends(settings.backends, context)
        return findings, [await backend.probe() for backend in backends.values()]


def _table(findings: Sequence[Finding], isolations: Sequence[Capabilities]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")

    def add(name: str, verdict: str, found: str, fix: str | None) -> None:
        table.add_row(name, Text(verdict, _COLOURS[verdict]), found)
        if fix:
            table.add_row("", Text("→", "cyan"), Text(fix, "cyan"))

    for check in findings:
        add(check.name, check.verdict, check.found, check.fix)
    for found in isolations:
        facts = ", ".join(f"{name} {value}" for name, value in found.facts.items())
        add(found.isolation, "ok" if found.available else "missing", found.reason or facts, found.fix)
        for runtime, why in found.missing.items():
            add(f"{found.isolation} {runtime}", "missing", why, None)
    return table
