"""What `/openapi.json` says is what the server does: schemathesis looks for any difference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.server import Server

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
HERE = Path(__file__).parent
EXAMPLES = 25
SEED = 1
"""The same requests each time: a difference that is found today is found again tomorrow."""


@pytest.mark.timeout(300)
def test_the_server_does_what_its_description_says(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server(warm_node=2)
    command = [str(SCHEMATHESIS), "--config-file", str(HERE / "schemathesis.toml"), "run", f"{server.url}/openapi.json"]
    options = ["--checks", "all", "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--no-color"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
