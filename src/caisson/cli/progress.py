"""Shows how far long work on images has come: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caisson.images.progress import Progress, Report

if TYPE_CHECKING:
    from rich.progress import TaskID

_PLAIN_INTERVAL_S = 5.0


@contextmanager
def shown() -> Iterator[Report]:
    """A Report that writes to stderr, where it does not disturb what a command prints."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _plain()


@contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    tasks: dict[str, TaskID] = {}
    with Bars(
        SpinnerColumn(),
        TextColumn("[bold]{task.fields[image]}"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bars:

        def report(progress: Progress) -> None:
            task = tasks.get(progress.image)
            if task is None:
                task = tasks[progress.image] = bars.add_task(progress.step, total=None, image=progress.image)
            bars.update(task, description=progress.step, completed=progress.done or 0, total=progress.total)

        yield report


def _plain() -> Report:
    last: dict[str, tuple[str, float]] = {}

    def report(progress: Progress) -> None:
        step, at_s = last.get(progress.image, ("", 0.0))
        now_s = time.monotonic()
        if step == progress.step and (progress.done is None or now_s - at_s < _PLAIN_INTERVAL_S):
            return
        last[progress.image] = (progress.step, now_s)
        print(f"{progress.image}: {progress.step}{_amount(progress)}", file=sys.stderr, flush=True)  # noqa: T201 - a line of progress

    return report


def _amount(progress: Progress) -> str:
    if not progress.done:
        return ""
    done = f" {progress.done / (1 << 20):.1f}"
    return f"{done} of {progress.total / (1 << 20):.1f} MiB" if progress.total else f"{done} MiB"
