"""`make bench` where something cannot be measured: it says so in table and document, and measures the rest."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caisson.bench.__main__ import BEGIN, END, _surely, _write
from caisson.bench.figure import Figure, Row, Unmeasured
from caisson.bench.layers import compare_layers
from caisson.bench.load import LoadError
from caisson.bench.server import Server

DOCUMENT = f"# Figures\n\n{BEGIN}\nold\n{END}\n\nafter\n"


@pytest.mark.parametrize("isolation", ["gvisor", "microvm"])
def test_an_isolation_without_images_is_named_as_not_measured(isolation: str, tmp_path: Path) -> None:
    document, images = tmp_path / "figures.md", tmp_path / "images"
    document.write_text(DOCUMENT)
    images.mkdir()
    command = [sys.executable, "-m", "caisson.bench", "--only", isolation, "--scale", "0.01", "--write", str(document)]
    env = os.environ | {"CAISSON_IMAGES_DIR": str(images), "TMPDIR": str(tmp_path), "COLUMNS": "200"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "not measured: " in done.stdout
    (row,) = [line for line in document.read_text().splitlines() if "not measured" in line]
    assert "caisson images build" in row
    assert document.read_text().endswith(f"{END}\n\nafter\n")


@pytest.mark.anyio
async def test_a_suite_that_breaks_off_keeps_what_it_measured_and_says_why(tmp_path: Path) -> None:
    async def suite() -> AsyncIterator[Row]:
        yield Figure.at_most("first", 1, "ms", 2)
        raise LoadError("a workload ended as failed\n| oh")

    rows = [row async for row in _surely("gvisor", suite())]
    assert [row.name for row in rows] == ["first", "gvisor, the rest"]
    assert isinstance(rows[1], Unmeasured)
    assert rows[1].failed
    document = tmp_path / "figures.md"
    document.write_text(DOCUMENT)
    _write(document, {"cores": "2"}, rows)
    assert "| first | 1 ms | ≤ 2 ms | kept |" in document.read_text()
    assert r"| gvisor, the rest | not measured: a workload ended as failed \| oh |  |  |" in document.read_text()
    assert "old" not in document.read_text()


def test_a_server_tells_why_an_isolation_or_a_language_is_not_to_be_had() -> None:
    usable = {"isolation": "gvisor", "available": True, "runtimes": ["python"], "missing": {"go": "no image `go`"}}
    broken = {"isolation": "microvm", "available": False, "reason": "no KVM", "fix": "another host"}
    server = Server(1, 1, [usable, broken])
    assert server.lacks("gvisor", "python") is None
    assert server.lacks("gvisor", "python", "go") == "no image `go`"
    assert server.lacks("microvm", "python") == "no KVM (another host)"
    assert server.lacks("isolate", "node") == "its backend is not loaded"


def test_layers_are_compared_and_what_the_file_system_cannot_is_named(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(os.urandom(2 << 20))

    async def compare() -> list[Row]:
        return [row async for row in compare_layers(image, 64, tmp_path, 2)]

    rows = asyncio.run(compare())
    assert len(rows) == 4
    for row, words in zip(rows, ("overlay", "full copy", "reflink", "qcow2"), strict=True):
        assert words in row.name
        assert isinstance(row, Unmeasured) or row.value > 0
        assert not isinstance(row, Unmeasured) or row.reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "blank-64.ext4", "image"]
