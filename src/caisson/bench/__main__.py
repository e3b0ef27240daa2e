"""`python -m caisson.bench [--scale N] [--only ISOLATION] [--write FILE]`: measure, show, and write into a document."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from caisson.bench.figure import Figure
from caisson.bench.gvisor import measure_gvisor
from caisson.bench.suite import measure
from caisson.host.facts import host_facts

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
SUITES = {"isolate": measure, "gvisor": measure_gvisor}
console = Console()


def main() -> None:
    """Run the suite; the document's part between the two marks is replaced."""
    parser = argparse.ArgumentParser(prog="python -m caisson.bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of runs (default 1)")
    parser.add_argument("--write", type=Path, help="Markdown file that takes the figures between its marks")
    parser.add_argument("--only", choices=sorted(SUITES), help="measure one isolation")
    options = parser.parse_args()
    facts = host_facts()
    figures = uvloop.run(_collect(options.scale, options.only))
    console.print(_table(figures))
    if options.write:
        _write(options.write, facts, figures)
        console.print(f"written to {options.write}")


async def _collect(scale: float, only: str | None) -> list[Figure]:
    figures = []
    with console.status("starting a server …") as status:
        for name, suite in SUITES.items():
            if only not in (None, name):
                continue
            async for figure in suite(scale):
                figures.append(figure)
                console.print(f"{figure.name}: {figure.value:.3g} {figure.unit}", highlight=False)
                status.update("measuring …")
    return figures


def _table(figures: Sequence[Figure]) -> Table:
    table = Table("figure", "measured", "promised", "")
    for figure in figures:
        table.add_row(figure.name, _value(figure), figure.promise, _verdict(figure))
    return table


def _write(path: Path, facts: Mapping[str, str], figures: Sequence[Figure]) -> None:
    lines = [BEGIN, "", " · ".join(f"{name}: {fact}" for name, fact in facts.items()), ""]
    lines += ["| Figure | Measured | Promised | |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {f.name} | {_value(f)} | {f.promise} | {_verdict(f)} |" for f in figures]
    text = path.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + "\n".join([*lines, "", END]) + after)


def _value(figure: Figure) -> str:
    number = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
    return f"{number} {figure.unit}"


def _verdict(figure: Figure) -> str:
    return "" if figure.kept is None else "kept" if figure.kept else "missed"


if __name__ == "__main__":
    main()
