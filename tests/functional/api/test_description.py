"""What `/openapi.json` says is what the server does: schemathesis looks for any difference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import caisson
from tests.helpers.server import Server, free_port

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
HERE = Path(__file__).parent
EXAMPLES = 25
SEED = os.environ.get("CAISSON_FUZZ_SEED", "1")
"""The same requests each time: a difference that is found today is found again tomorrow. `make fuzz` sends others."""

pytestmark = pytest.mark.timeout(300)


def look_for_differences(url: str, folder: Path, *options: str) -> None:
    command = [str(SCHEMATHESIS), "--config-file", str(HERE / "schemathesis.toml"), "run", f"{url}/openapi.json"]
    bounds = [
        "--checks",
        "all",
        "--exclude-checks",
        "use_after_free",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        SEED,
        "--no-color",
    ]
    if "CAISSON_FUZZ_SEED" in os.environ:
        # It runs at the lowest priority beside other work, where an answer may take long.
        bounds += ["--request-timeout", "60"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")}
    done = subprocess.run(
        [*command, *bounds, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_server_without_keys_does_what_its_description_says(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    look_for_differences(start_server().url, tmp_path)


def test_a_server_with_keys_does_what_its_description_says(start_server: Callable[..., Server], tmp_path: Path) -> None:
    made = caisson("keys", "create", "--scope", "admin", "--data-dir", tmp_path / "server" / "data", cwd=tmp_path)
    port = free_port()
    start_server(listen=f"0.0.0.0:{port}", key_guesses=0)
    header = f"Authorization: Bearer {made.stdout.strip()}"
    look_for_differences(f"http://127.0.0.1:{port}", tmp_path, "--header", header)
