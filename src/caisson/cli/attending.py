"""Stays with a workload while it runs: its lines on the terminal, and an end for it if we are stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

from caisson.cli.spinner import Spinner
from caisson.model import Stream

if TYPE_CHECKING:
    from caisson.client import Client, Workload


class Stopped(Exception):
    """A signal asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def attend(client: Client, workload: Workload, stdout: TextIO) -> Workload:
    """Show the log until the workload ends, and return it finished. If we are stopped meanwhile, it is killed."""
    try:
        with signals_raised(), Spinner(client, workload) as spinner:
            for line in client.logs(workload.id):
                spinner.write(stdout if line.stream is Stream.STDOUT else sys.stderr, line.line)
            return client.wait(workload.id)
    except Stopped as stopped:
        _kill(client, workload.id)
        raise typer.Exit(128 + stopped.number) from None
    except BrokenPipeError:
        _kill(client, workload.id)
        raise


def _kill(client: Client, workload_id: str) -> None:
    from caisson.client import ApiError

    try:
        client.kill(workload_id)
    except ApiError as error:
        if error.status != 409:
            raise
        typer.echo(f"stopped; workload {workload_id} had just ended", err=True)
    else:
        typer.echo(f"stopped; workload {workload_id} is killed", err=True)


@contextmanager
def signals_raised() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP all end the command through its clean-up."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
