"""What is handed to other programs is something they accept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

ROOT = Path(__file__).resolve().parents[2]


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "caisson.service"
    # The command and the documentation lie where the guide puts them, which is not on this machine.
    text = (ROOT / "deploy/systemd/caisson.service").read_text()
    unit.write_text(text.replace("/opt/caisson/.venv/bin/caisson", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_webassembly_example_is_its_source_assembled() -> None:
    source = (ROOT / "examples/hello.wat").read_text()
    assert (ROOT / "examples/hello.wasm").read_bytes() == bytes(wasmtime.wat2wasm(source))
