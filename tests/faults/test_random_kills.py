"""Whatever is killed at whatever moment: every acknowledged workload is there afterwards, with the truth about its end.

A short run belongs to the suite. `make soak` makes a long one (`CAISSON_SOAK_KILLS`), on every isolation that
`CAISSON_SOAK_ISOLATIONS` names, and prints what was survived.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.helpers.images import IMAGES_DIR, TEMPLATES_DIR
from tests.helpers.leaks import PATIENCE_S, assert_nothing_left
from tests.helpers.processes import Process, bury_orphans, descendants
from tests.helpers.runs import events, logs, submit, wait
from tests.helpers.server import Server, node_name

KILLS = int(os.environ.get("CAISSON_SOAK_KILLS", "6"))
SEED = int(os.environ.get("CAISSON_SOAK_SEED", "1"))
ISOLATIONS = os.environ.get("CAISSON_SOAK_ISOLATIONS", "isolate").split(",")
RUNTIMES = {"isolate": "node", "gvisor": "python", "microvm": "python"}
NODE = node_name("cat")
"""Of its own, so that several of these runs can go on at once."""
EXCUSES = {"node_lost", "sandbox_crashed", "start_failed", "shutdown"}
"""What may be said of a workload whose server or sandbox was killed; never that its program failed."""

pytestmark = pytest.mark.timeout(120 + 20 * KILLS)


@dataclass
class Known:
    """What was acknowledged: outputs to come by workload, and log lines that a reader has seen."""

    outputs: dict[str, int] = field(default_factory=dict)
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)
    programs: Counter[str] = field(default_factory=Counter)
    """What the processes of sandboxes were that were killed by themselves."""


def program(runtime: str, number: int, pause_ms: int) -> str:
    """Says its number, takes its time, returns its number."""
    if runtime == "python":
        return (
            "import time\ndef handler(input):\n"
            f"    print('line {number}', flush=True)\n    time.sleep({pause_ms / 1000})\n    return {number}\n"
        )
    return (
        f"export default async () => {{ console.log('line {number}');"
        f" await new Promise((go) => setTimeout(go, {pause_ms})); return {number}; }}"
    )


def load(http: httpx2.Client, chance: random.Random, known: Known) -> None:
    """Submit a handful of workloads, some of which take a while, and read a little of one's log."""
    for _ in range(chance.randint(2, 6)):
        number, pause_ms = len(known.outputs), chance.choice([0, 0, 50, 800])
        isolation = chance.choice(ISOLATIONS)
        runtime = RUNTIMES[isolation]
        code = program(runtime, number, pause_ms)
        more: dict[str, Any] = {"retries": 2, "idempotent": True} if chance.random() < 0.3 else {}
        known.outputs[submit(http, code=code, runtime=runtime, isolation=isolation, **more)] = number
    if chance.random() < 0.5:
        workload_id = chance.choice(list(known.outputs)[-2:])
        name, line = next(events(http, workload_id))
        if name == "line":
            known.seen.setdefault(workload_id, []).append(line)


def strike(server: Server, chance: random.Random, known: Known) -> None:
    """Kill something: the server, a process of a sandbox, or all of them at once."""
    time.sleep(chance.random() * 0.4)
    victim = chance.choice(["server", "server", "sandbox", "sandbox", "everything"])
    sandboxes = sorted(descendants(server.process.pid), key=lambda process: process.pid)
    if victim == "sandbox" and not sandboxes:
        victim = "server"
    chosen = [chance.choice(sandboxes)] if victim == "sandbox" else []
    known.programs.update(process.name for process in chosen)
    targets = [process.pid for process in chosen]
    if victim == "everything":
        targets = [process.pid for process in sandboxes]
    for pid in targets:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if victim != "sandbox":
        server.signal(signal.SIGKILL)
        server.wait()
    known.killed[victim] += 1
    bury_orphans()


def end_orphans(before: set[Process]) -> list[str]:
    """End what outlived its server and every later one, and say what it was. Orphans are given to this process.

    What was there before, such as a server that other tests share, and whatever that started, is none of them.
    """
    standing = [process.pid for process in before]
    until = time.monotonic() + PATIENCE_S
    # A killed process is gone a moment after its killer goes on.
    while (orphans := descendants(os.getpid(), standing) - before) and time.monotonic() < until:
        time.sleep(0.1)
    for process in orphans:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return [process.name for process in orphans]


def test_nothing_acknowledged_is_lost_and_nothing_is_left(start_server: Callable[..., Server]) -> None:
    chance, known = random.Random(SEED), Known()
    before = descendants(os.getpid())
    settings: dict[str, Any] = {"node_id": NODE, "max_running": 3, "warm_node": 2, "warm_wasm": 0}
    settings |= {"backends": ",".join(ISOLATIONS)}
    if ISOLATIONS != ["isolate"]:
        settings |= {"images_dir": IMAGES_DIR, "templates_dir": TEMPLATES_DIR, "microvm_emulation": "true"}
    server = start_server(**settings)
    ready_ms: list[float] = []
    for _ in range(KILLS):
        if server.process.poll() is not None:
            began_at = time.monotonic()
            server = start_server(**settings)
            ready_ms.append((time.monotonic() - began_at) * 1000)
        with server.client() as http, suppress(httpx2.TransportError):
            load(http, chance, known)
        strike(server, chance, known)
    if server.process.poll() is not None:
        server = start_server(**settings)
    ends: Counter[str] = Counter()
    with server.client() as http:
        for workload_id, number in known.outputs.items():
            ended = wait(http, workload_id, 300)
            if ended["status"] == "completed":
                assert ended["output"] == number
                assert [line["line"] for line in logs(http, workload_id)][-1:] == [f"line {number}"]
                ends["completed"] += 1
            else:
                assert ended["error"]["reason"] in EXCUSES, ended
                ends[ended["error"]["reason"]] += 1
        for workload_id, lines in known.seen.items():
            assert logs(http, workload_id)[: len(lines)] == lines
        assert http.get("/v1/workloads", params={"limit": 1}).json()["total"] == len(known.outputs)
    sandboxes = descendants(server.process.pid)
    assert server.stop() == 0
    assert_nothing_left(server.folder, NODE, sandboxes)
    assert ends["completed"] > 0
    orphans = end_orphans(before)
    print(  # noqa: T201 - what `make soak` is for
        json.dumps(
            {
                "kills": known.killed.total(),
                "of": known.killed,
                "of sandboxes": known.programs,
                "acknowledged": len(known.outputs),
                "lost": 0,
                "left": len(orphans),
                "ends": ends,
                "lines seen before a kill": sum(map(len, known.seen.values())),
                "slowest restart ms": round(max(ready_ms, default=0)),
            }
        )
    )
    assert orphans == [], "outlived its server and every later one"
