"""`python -m caisson.bench [--scale N] [--only ISOLATION] [--write FILE]`: measure, show, and write into a document."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from caisson.bench.figure import Figure, Row, Unmeasured
from caisson.bench.gvisor import measure_gvisor
from caisson.bench.load import LoadError
from caisson.bench.microvm import measure_microvm
from caisson.bench.server import ServerFailed
from caisson.bench.suite import measure
from caisson.host.facts import host_facts
from caisson.settings import Settings

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
SUITES = {"isolate": measure, "gvisor": measure_gvisor, "microvm": measure_microvm}
CHECKOUT_IMAGES = Path(__file__).resolve().parents[3] / "build" / "images"
"""Where the tests of a work tree build guest images; an installed package has no such folder."""
console = Console()


def main() -> None:
    """Run the suite; the document's part between the two marks is replaced."""
    parser = argparse.ArgumentParser(prog="python -m caisson.bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of runs (default 1)")
    parser.add_argument("--write", type=Path, help="Markdown file that takes the figures between its marks")
    parser.add_argument("--only", choices=sorted(SUITES), help="measure one isolation")
    options = parser.parse_args()
    if Settings().images_dir is None and CHECKOUT_IMAGES.is_dir():
        os.environ["CAISSON_IMAGES_DIR"] = str(CHECKOUT_IMAGES)
    facts = host_facts()
    rows = uvloop.run(_collect(options.scale, options.only))
    console.print(_table(rows))
    if options.write:
        _write(options.write, facts, rows)
        console.print(f"written to {options.write}")
    sys.exit(any(isinstance(row, Unmeasured) and row.failed for row in rows))


async def _collect(scale: float, only: str | None) -> list[Row]:
    rows: list[Row] = []
    with console.status("starting a server …") as status:
        for name, suite in SUITES.items():
            if only not in (None, name):
                continue
            async for row in _surely(name, suite(scale)):
                rows.append(row)
                console.print(f"{row.name}: {_value(row)}", highlight=False, markup=False)
                status.update("measuring …")
    return rows


async def _surely(name: str, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
    """What an isolation's suite yields, and a row of its own if it breaks off: the others are measured all the same."""
    try:
        async for row in rows:
            yield row
    except (LoadError, ServerFailed) as error:
        yield Unmeasured(f"{name}, the rest", str(error), failed=True)


def _table(rows: Sequence[Row]) -> Table:
    table = Table("figure", "measured", "promised", "")
    for row in rows:
        promise = row.promise if isinstance(row, Figure) else ""
        table.add_row(*(Text(cell) for cell in (row.name, _value(row), promise, _verdict(row))))
    return table


def _write(path: Path, facts: Mapping[str, str], rows: Sequence[Row]) -> None:
    lines = [BEGIN, "", " · ".join(f"{name}: {fact}" for name, fact in facts.items()), ""]
    lines += ["| Figure | Measured | Promised | |", "| --- | ---: | ---: | --- |"]
    for row in rows:
        promise = row.promise if isinstance(row, Figure) else ""
        lines.append(f"| {row.name} | {_cell(_value(row))} | {promise} | {_verdict(row)} |")
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + "\n".join([*lines, "", END]) + after)


def _value(row: Row) -> str:
    if isinstance(row, Unmeasured):
        return f"not measured: {row.reason}"
    number = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
    return f"{number} {row.unit}"


def _cell(text: str) -> str:
    """A text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _verdict(row: Row) -> str:
    if isinstance(row, Unmeasured) or row.kept is None:
        return ""
    return "kept" if row.kept else "missed"


if __name__ == "__main__":
    main()
