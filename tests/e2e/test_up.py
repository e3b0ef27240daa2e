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
import pytest

from caisson.images.catalog import Catalog
from tests.helpers.command import caisson
from tests.helpers.images import IMAGES_DIR
from tests.helpers.leaks import cgroups_naming
from tests.helpers.server import free_port, wait_until

UP = Path(__file__).resolve().parents[2] / "scripts/up"


@contextmanager
def running_up(folder: Path, listen: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """`scripts/up` in a process group of its own, as a shell starts it; its output goes to `folder`/up.log."""
    given = {
        "LISTEN": listen,
        "DATA_DIR": str(folder / "data"),
        "NODE_ID": f"up-{os.getpid()}",
        "IMAGES_DIR": str(IMAGES_DIR),
        **settings,
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


def said_when_up(folder: Path, up: subprocess.Popen[bytes]) -> str:
    """What it said until it served."""
    log = folder / "up.log"
    wait_until(lambda: up.poll() is not None or "Caisson serves on" in log.read_text(), "up to be up", 60)
    return log.read_text()


@pytest.mark.parametrize(
    ("scope", "told"),
    [(None, "CAISSON_API_KEY is not set"), ("run", "does not have the scope `read`"), ("read", "the scope `run`")],
)
def test_on_an_address_that_others_reach_it_serves_also_without_a_hello(
    scope: str | None, told: str, tmp_path: Path
) -> None:
    data = ("--data-dir", tmp_path / "data")
    key = caisson("keys", "create", "--scope", scope or "run", *data, cwd=tmp_path).stdout.strip()
    settings = {"API_KEY": key} if scope else {}
    port = free_port()
    with running_up(tmp_path, f"0.0.0.0:{port}", BACKENDS="isolate", **settings) as up:
        said = said_when_up(tmp_path, up)
        assert told in said
        assert "Traceback" not in said
        assert httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
        os.killpg(up.pid, signal.SIGINT)
        assert up.wait(30) == 0, said


def test_on_an_address_that_others_reach_it_says_hello_with_a_key(tmp_path: Path) -> None:
    key = caisson("keys", "create", "--data-dir", tmp_path / "data", cwd=tmp_path).stdout.strip()
    (tmp_path / ".env").write_text(f"CAISSON_API_KEY={key}\n")
    with running_up(tmp_path, f"0.0.0.0:{free_port()}", BACKENDS="isolate") as up:
        assert "JavaScript greets world" in said_when_up(tmp_path, up)


@pytest.mark.parametrize("there", [True, False])
def test_images_are_wanted_where_the_runsc_that_is_set_is(there: bool, tmp_path: Path) -> None:
    runsc = tmp_path / "elsewhere"
    if there:
        runsc.write_text("#!/bin/sh\nexit 1\n")
        runsc.chmod(0o755)
    settings = {"BACKENDS": "isolate,gvisor", "RUNSC": str(runsc), "IMAGES_SOURCE": str(tmp_path / "nowhere")}
    images = {"IMAGES_DIR": str(tmp_path / "images")}
    with running_up(tmp_path, f"127.0.0.1:{free_port()}", **settings, **images) as up:
        assert ("guest images: base" in said_when_up(tmp_path, up)) == there
