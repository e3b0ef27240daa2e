"""`make up` from the second on which everything is set up: serves, says hello, and goes when asked to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from caisson.images.catalog import Catalog
from tests.helpers.images import IMAGES_DIR
from tests.helpers.leaks import cgroups_naming
from tests.helpers.server import free_port, wait_until

UP = Path(__file__).resolve().parents[2] / "scripts/up"


@contextmanager
def running_up(folder: Path, listen: str) -> Iterator[subprocess.Popen[bytes]]:
    """`scripts/up` in a process group of its own, as a shell starts it; its output goes to `folder`/up.log."""
    given = {
        "LISTEN": listen,
        "DATA_DIR": str(folder / "data"),
        "NODE_ID": f"up-{os.getpid()}",
        "IMAGES_DIR": str(IMAGES_DIR),
    }
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "COLUMNS": "120"}
    environment |= {f"CAISSON_{name}": value for name, value in given.items()}
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, UP], cwd=folder, env=environment, stdout=log, stderr=log, process_group=0
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def test_every_example_says_hello_and_ctrl_c_leaves_nothing(images: Catalog, tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    with running_up(tmp_path, listen := f"127.0.0.1:{free_port()}") as up:
        wait_until(lambda: up.poll() is not None or "Caisson serves on" in log.read_text(), "up to be up", 120)
        said = log.read_text()
        languages = ["JavaScript", "TypeScript", "WebAssembly"]
        if "not here: gvisor" not in said:
            languages += ["Python", "Go", "bash"]
        for example in languages:
            assert f"{example} greets world" in said
        assert f"http://{listen}" in said
        assert httpx2.get(f"http://{listen}/healthz", trust_env=False).status_code == 200
        os.killpg(up.pid, signal.SIGINT)
        assert up.wait(30) == 0, log.read_text()
    assert cgroups_naming(f"up-{os.getpid()}") == []


def test_a_taken_address_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running_up(tmp_path, f"127.0.0.1:{port}") as up:
            assert up.wait(30) == 1
    said = (tmp_path / "up.log").read_text()
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert f"CAISSON_LISTEN=127.0.0.1:{port + 1} make up" in said
