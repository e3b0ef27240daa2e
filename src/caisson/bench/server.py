"""The server under test: a real `caisson serve` in a process and a data folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
NONE_WARM = {
    f"warm_{what}": 0
    for what in ("python", "gvisor_node", "go", "bash", "node", "wasm", "microvm_python", "microvm_node")
}
"""Settings of a server that starts every sandbox when it is asked for."""
_LOG_CHARS = 1000


class ServerFailed(Exception):
    """The server under test did not come up; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, which process it is, and what it said of its isolations once its pools were full."""

    port: int
    pid: int
    backends: Sequence[Mapping[str, Any]]

    def lacks(self, isolation: str, *runtimes: str) -> str | None:
        """Why this isolation cannot run these runtimes here, with what would help; None if it can."""
        found = next((each for each in self.backends if each["isolation"] == isolation), None)
        if found is None:
            return "its backend is not loaded"
        if not found["available"]:
            return f"{found['reason']} ({found['fix']})" if found["fix"] else str(found["reason"])
        lacking = [runtime for runtime in runtimes if runtime not in found["runtimes"]]
        return (
            "; ".join(str(found["missing"].get(runtime, f"it does not run {runtime}")) for runtime in lacking) or None
        )

    def told(self, isolation: str) -> Mapping[str, Any]:
        """What the server says of an isolation."""
        return next(each for each in self.backends if each["isolation"] == isolation)


@asynccontextmanager
async def running_server(*, plugins: Path | None = None, **settings: object) -> AsyncIterator[Server]:
    """Start one with these settings, wait until it is ready and its pools are full, and stop it at the end.

    `plugins` is a folder with further backends. Raises ServerFailed if it does not come up.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="caisson-bench-") as folder:
        given = {"listen": f"127.0.0.1:{port}", "data_dir": folder, "log_level": "warning", **settings}
        env = dict(os.environ) | {f"CAISSON_{name.upper()}": str(value) for name, value in given.items()}
        if plugins is not None:
            env["PYTHONPATH"] = str(plugins)
        log_path = Path(folder) / "server.log"
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name("caisson"), "serve", env=env, stdout=log, stderr=log
            )
        try:
            try:
                backends = await _until_settled(port, process)
            except TimeoutError as error:
                log_end = log_path.read_text(errors="replace")[-_LOG_CHARS:]
                raise ServerFailed(f"the server did not come up; its log ends with: {log_end or 'nothing'}") from error
            yield Server(port, process.pid, backends)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()


async def _until_settled(port: int, process: asyncio.subprocess.Process) -> Sequence[Mapping[str, Any]]:
    async with (
        asyncio.timeout(START_TIMEOUT_S),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        while True:
            if process.returncode is not None:
                raise TimeoutError
            try:
                backends: list[dict[str, Any]] = (await http.get("/v1/backends")).json()
            except httpx2.TransportError:
                backends = []
            if backends and all(pool["ready"] == pool["target"] for backend in backends for pool in backend["pool"]):
                return backends
            await asyncio.sleep(0.05)


def free_port() -> int:
    """A loopback port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
