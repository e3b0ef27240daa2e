"""A server that is not root has gVisor too: without network and shares of the CPU, and with all the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from caisson.images.catalog import Catalog
from tests.helpers.guest import is_root

NOBODY = 65_534
SCRIPT = """
import asyncio, json, sys
from pathlib import Path

from caisson.backends.gvisor.backend import GvisorBackend
from caisson.model import Resources, Runtime
from caisson.sandbox.contract import BackendContext
from caisson.settings import Settings
from tests.helpers.sandboxes import carry_out, job

# gVisor counts CPU time in steps of 10 ms.
SUMS = "def handler(x):\\n    for _ in range(20): sum(range(500_000))\\n    return x + 1"
HOG = "kept = []\\nwhile True: kept.append(bytearray(1 << 20))"


async def main():
    backend = GvisorBackend(BackendContext("rootless", Path(sys.argv[1]), Settings(images_dir=Path(sys.argv[2]))))
    found = await backend.probe()
    if not found.available:
        return {"reason": found.reason}
    sums = await carry_out(backend, job(SUMS, input=1, runtime=Runtime.PYTHON))
    hog = await carry_out(backend, job(HOG, runtime=Runtime.PYTHON, resources=Resources(mem_mb=64)))
    return {
        "networks": sorted(found.networks), "limits": sorted(found.limits), "result": sums.result,
        "out_of_memory": hog.exited.out_of_memory, "cpu_ms": sums.usage.cpu_ms,
    }


print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the unprivileged user's; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="caisson-rootless-") as name:
        os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def as_nobody(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [*prefix, sys.executable, "-B", *arguments]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_an_unprivileged_server_runs_programs_and_limits_their_memory(folder: Path, images: Catalog) -> None:
    if not is_root() or shutil.which("setpriv") is None:
        pytest.skip("only root becomes somebody else, and that with setpriv")
    if as_nobody(folder, "-c", "import caisson.sandbox.guest as g; g.guest_folder()").returncode != 0:
        pytest.skip("these sources cannot be read by an unprivileged user")
    done = as_nobody(folder, "-c", SCRIPT, folder, images.folder)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if "reason" in found:
        pytest.skip(f"not here: {found['reason']}")
    assert (found["result"], found["out_of_memory"], found["networks"]) == (2, True, ["none"])
    # The groups of this user are what the host's administrator made them; whatever is missing is not claimed.
    assert {"mem_mb", "disk_mb", "timeout_s", "max_output_bytes"} <= set(found["limits"])
    assert found["cpu_ms"] > 0
    assert list((folder / "gvisor" / "sandboxes").iterdir()) == []
