"""The server under test: a real `caisson serve` in a process and a data folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens and which process it is."""

    port: int
    pid: int


@asynccontextmanager
async def running_server(*, plugins: Path | None = None, **settings: object) -> AsyncIterator[Server]:
    """Start one with these settings, wait until it is ready and its pools are full, and stop it at the end.

    `plugins` is a folder with further backends. Raises RuntimeError with the server's log if it does not come up.
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
                await _until_settled(port, process)
            except TimeoutError as error:
                raise RuntimeError(f"the server did not come up:\n{log_path.read_text()}") from error
            yield Server(port, process.pid)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()


async def _until_settled(port: int, process: asyncio.subprocess.Process) -> None:
    async with (
        asyncio.timeout(START_TIMEOUT_S),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        while True:
            if process.returncode is not None:
                raise TimeoutError
            try:
                backends = (await http.get("/v1/backends")).json()
            except httpx2.TransportError:
                backends = None
            if backends and all(pool["ready"] == pool["target"] for backend in backends for pool in backend["pool"]):
                return
            await asyncio.sleep(0.05)


def free_port() -> int:
    """A loopback port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
