"""A real `caisson serve` in a process of its own, started and stopped as a user would."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.helpers.leaks import assert_nothing_left
from tests.helpers.processes import descendants
from tests.helpers.worker import worker_number

CAISSON = Path(sys.executable).with_name("caisson")
PATIENCE = float(os.environ.get("CAISSON_TEST_PATIENCE", "1"))
"""Multiplies the time a server may take; the lab is an emulated machine, and asks for more."""
START_TIMEOUT_S = 30 * PATIENCE
STOP_TIMEOUT_S = 30 * PATIENCE
PORTS = 2_000
"""How many ports a worker has to itself. All are below 32768, from where on the kernel gives them to whoever asks for
any."""
_counter = itertools.count(os.getpid() * 97)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `folder` is all it may write to: its data, its temporary files and its log."""

    url: str
    folder: Path
    node_id: str
    process: subprocess.Popen[bytes]

    @property
    def data_dir(self) -> Path:
        """The server's data folder."""
        return self.folder / "data"

    def log(self) -> str:
        """All the server has printed so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def client(self, timeout_s: float = 60) -> httpx2.Client:
        """A plain HTTP client of this server, to be closed by the caller."""
        return httpx2.Client(base_url=self.url, timeout=timeout_s, trust_env=False)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server process."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """Ask it to end, as systemd would, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def settle(self, timeout_s: float = 20) -> None:
        """Return when nothing runs and every pool is as full as it wants to be."""
        with self.client() as http:
            wait_until(lambda: is_settled(http), "the server to have nothing left to do", timeout_s)


def is_settled(http: httpx2.Client) -> bool:
    """True if no workload runs or waits, and no pool is being filled."""
    nodes = http.get("/v1/nodes").json()
    return not any(node["running"] or node["queued"] for node in nodes) and pools_are_full(http)


def pools_are_full(http: httpx2.Client) -> bool:
    """True if no pool is being filled."""
    pools = [pool for backend in http.get("/v1/backends").json() for pool in backend["pool"]]
    return all(pool["ready"] == pool["target"] and not pool["starting"] for pool in pools)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Ask again and again, for what can only be seen from outside."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nothing listened on a moment ago, and that nothing else gets until it is used.

    Another run of the tests at the same time has the same ranges; it begins elsewhere in them.
    """
    number = worker_number()
    first = 10_000 + os.getpid() % 5 * PORTS if number is None else 20_000 + number % 6 * PORTS
    for _ in range(PORTS):
        port = first + next(_counter) % PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError(f"no port from {first} on is free")


def node_name(word: str) -> str:
    """A name for a node that is started more than once: no other test, nor another run of the tests, has it."""
    return f"{word}-{uuid.uuid4().hex[:8]}"


@contextmanager
def running_server(folder: Path, **settings: str | int | float) -> Iterator[Server]:
    """A server with its own data folder; settings are given without prefix, such as `warm_node=0`.

    Among them may be `preload`, the path of a shared library that its process alone loads before all others. What still
    runs when the server is told to stop is killed at once, unless `shutdown_grace_s` is among them.

    Leaving it stops the server, unless the test did, and fails if it did not exit with 0 or left anything behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    node_id = str(settings.pop("node_id", node_name("test")))
    listen = str(settings.pop("listen", f"127.0.0.1:{free_port()}"))
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    if "preload" in settings:
        environment["LD_PRELOAD"] = str(settings.pop("preload"))
    given = {"listen": listen, "data_dir": folder / "data", "node_id": node_id, "log_format": "json"}
    given |= {"shutdown_grace_s": 0, **settings}
    environment |= {"HOME": str(folder), "TMPDIR": str(folder / "tmp")}
    environment |= {f"CAISSON_{name.upper()}": str(value) for name, value in given.items()}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([CAISSON, "serve"], cwd=folder, env=environment, stdout=log, stderr=log)
    server = Server(f"http://{listen}", folder, node_id, process)
    try:
        wait_for_ready(server)
        yield server
        if process.poll() is None:
            sandboxes = descendants(process.pid)
            code = server.stop()
            assert code == 0, f"the server exited with {code} on SIGTERM:\n{server.log()[-4000:]}"
            assert_nothing_left(server.folder, server.node_id, sandboxes)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for_ready(server: Server) -> None:
    """Return when `/readyz` says so; fail with the server's log if it ends instead."""

    def ready() -> bool:
        code = server.process.poll()
        assert code is None, f"the server exited with {code} instead of serving:\n{server.log()[-4000:]}"
        with suppress(httpx2.TransportError):  # it does not listen yet
            return http.get("/readyz").status_code == 200
        return False

    with server.client(timeout_s=5) as http:
        try:
            wait_until(ready, "the server to be ready", START_TIMEOUT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{server.log()[-4000:]}") from None
