"""What Caisson is compared with, measured in the same run: a bare `deno run`, and workerd's worker loader."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

from caisson.bench.load import Connection, LoadError, Sample
from caisson.bench.server import START_TIMEOUT_S, free_port

WORKERD_CONFIG = """\
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .loader)],
  sockets = [(name = "http", address = "127.0.0.1:PORT", http = (), service = "main")],
);
const loader :Workerd.Worker = (
  modules = [(name = "main.js", esModule = embed "main.js")],
  compatibilityDate = "2025-06-01",
  compatibilityFlags = ["experimental"],
  bindings = [(name = "LOADER", workerLoader = ())],
);
"""
LOADER_SCRIPT = """\
let number = 0;
export default {
  async fetch(request, env) {
    const body = await request.json();
    const worker = env.LOADER.get(`w${number++}`, () => ({
      compatibilityDate: "2025-06-01",
      mainModule: "main.js",
      modules: { "main.js": body.code },
    }));
    return await worker.getEntrypoint().fetch(new Request("http://x/", { method: "POST", body: body.input }));
  },
};
"""
WORKER_CODE = (
    "const handler = (input) => input.a + 1;"
    "export default { async fetch(r) { return Response.json(handler(await r.json())); } };"
)


async def deno_run(deno: str, code: str, count: int) -> Sample:
    """`deno run` of the same code as a process each time, unjailed."""
    sample = Sample()
    with tempfile.TemporaryDirectory(prefix="caisson-bench-") as folder:
        script = Path(folder) / "main.ts"
        script.write_text(code)
        began_at = perf_counter()
        for _ in range(count):
            started_at = perf_counter()
            process = await asyncio.create_subprocess_exec(
                deno, "run", "--no-config", str(script), stdout=asyncio.subprocess.PIPE, env={"DENO_DIR": folder}
            )
            await process.communicate()
            if process.returncode != 0:
                raise LoadError(f"deno run exited with {process.returncode}")
            sample.latencies_ms.append((perf_counter() - started_at) * 1000)
        sample.elapsed_s = perf_counter() - began_at
    return sample


def find_workerd() -> str | None:
    """The workerd binary: `WORKERD`, else on PATH. It comes from npm (`npm install workerd`)."""
    return os.environ.get("WORKERD") or shutil.which("workerd")


async def worker_loader(workerd: str, count: int) -> Sample:
    """A fresh isolate for each request, all in one process that calls itself no hardened sandbox."""
    sample = Sample()
    async with _running_workerd(workerd) as port:
        body = json.dumps({"code": WORKER_CODE, "input": '{"a": 1}'}).encode()
        connection = Connection(port)
        began_at = perf_counter()
        for _ in range(count):
            started_at = perf_counter()
            if await connection.post("/", body) != 2:
                raise LoadError("workerd answered something else")
            sample.latencies_ms.append((perf_counter() - started_at) * 1000)
        sample.elapsed_s = perf_counter() - began_at
        connection.close()
    return sample


@asynccontextmanager
async def _running_workerd(workerd: str) -> AsyncIterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="caisson-bench-") as folder:
        config = Path(folder) / "config.capnp"
        config.write_text(WORKERD_CONFIG.replace("PORT", str(port)))
        (Path(folder) / "main.js").write_text(LOADER_SCRIPT)
        process = await asyncio.create_subprocess_exec(workerd, "serve", "--experimental", str(config))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await _until_it_listens(port)
            yield port
        finally:
            process.kill()
            await process.wait()


async def _until_it_listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
