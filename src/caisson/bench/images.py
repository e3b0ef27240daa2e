"""`python -m caisson.bench.images [--write FILE]`: build every guest image; how long it takes and how large it is."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from caisson.host.facts import host_facts
from caisson.images import definitions
from caisson.images.build import build
from caisson.images.catalog import Catalog

BEGIN, END = "<!-- images: begin -->", "<!-- images: end -->"
console = Console()


@dataclass(frozen=True, slots=True)
class Built:
    """One image: seconds to build it, downloads included, and its sizes in MiB."""

    name: str
    version: str
    packages: int
    seconds: float
    root_mb: float
    erofs_mb: float

    @property
    def row(self) -> str:
        """As a line of the document's table."""
        figures = f"{self.packages} | {self.seconds:.0f} s | {self.root_mb:.0f} MiB | {self.erofs_mb:.0f} MiB"
        return f"| `{self.name}` | {self.version} | {figures} |"


def main() -> None:
    """Build all in a folder that is removed afterwards; the part of FILE between the two marks is replaced."""
    parser = argparse.ArgumentParser(prog="python -m caisson.bench.images", description=__doc__)
    parser.add_argument("--write", type=Path, help="Markdown file that takes the figures between its marks")
    options = parser.parse_args()
    built = asyncio.run(_collect())
    if options.write:
        _write(options.write, built)
        console.print(f"written to {options.write}")


async def _collect() -> list[Built]:
    return [built async for built in measured()]


async def measured() -> AsyncIterator[Built]:
    """Every image that is a root file system, built alone, one after the other."""
    with tempfile.TemporaryDirectory(prefix="caisson-images-") as folder:
        for name in definitions.names():
            began_s = time.monotonic()
            image = await build(Catalog(Path(folder)), definitions.load(name))
            took_s = time.monotonic() - began_s
            manifest = image.manifest
            root_mb = manifest.tree.size / (1 << 20) if manifest.tree else 0.0
            erofs_mb = image.erofs.stat().st_size / (1 << 20)
            built = Built(name, image.version, len(manifest.packages), took_s, root_mb, erofs_mb)
            console.print(built.row, highlight=False, markup=False)
            yield built


def _write(path: Path, built: list[Built]) -> None:
    facts = " · ".join(f"{name}: {fact}" for name, fact in host_facts().items())
    lines = [BEGIN, "", facts, "", "| Image | Version | Packages | Build | Folder | Block image |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |", *(each.row for each in built), "", END]
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + "\n".join(lines) + after)


if __name__ == "__main__":
    main()
