"""How a command ends: its exit codes, and the one line that says why."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

FAILED = 1
"""A workload that failed without an exit code of its own, or a command that could not do its work."""
USAGE = 2
REFUSED = 3
"""The server refused the request."""
UNREACHABLE = 4
"""No server answered."""
TIMED_OUT = 124
KILLED = 137


def complain(message: str) -> None:
    """Write `message` to stderr as an error."""
    colour = sys.stderr.isatty()
    mark = "\x1b[1;31merror:\x1b[0m" if colour else "error:"
    typer.echo(f"{mark} {message}", err=True)


def fail(message: str, exit_code: int = FAILED) -> NoReturn:
    """End the command with `message` on stderr."""
    complain(message)
    raise typer.Exit(exit_code)
