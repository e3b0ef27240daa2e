"""Machines one after the other, some of whose VMM is killed at a random moment: nothing of any of them is left.

A short run belongs to the suite. `make soak` makes a long one (`CAISSON_SOAK_MACHINES`, `CAISSON_SOAK_MACHINE_KILLS`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from caisson.images.catalog import Catalog
from tests.helpers.images import TEMPLATES_DIR
from tests.helpers.leaks import assert_nothing_left, cgroups_naming, mounts_naming
from tests.helpers.processes import Process, descendants
from tests.helpers.runs import submit, wait
from tests.helpers.server import Server, node_name, wait_until

MACHINES = int(os.environ.get("CAISSON_SOAK_MACHINES", "6"))
KILLS = int(os.environ.get("CAISSON_SOAK_MACHINE_KILLS", "2"))
SEED = int(os.environ.get("CAISSON_SOAK_SEED", "1"))
VMMS = ("qemu-system", "firecracker")
"""What the names of a VMM's process begin with; the kernel keeps 15 letters of them."""
EXCUSES = {"sandbox_crashed", "start_failed"}
"""What may be said of a workload whose machine was killed; never that its program failed."""
BOOTED_SHARE = 0.25
"""Of the machines so many are booted, the others are copies of a saved one."""
MANY = 20
"""Of fewer than that, all are copies: the short run is to be short."""
COMES_S = 60.0
STRIKE_S = 0.8
"""A kill comes up to so long after the machine's process: while it starts, is renewed, runs its program, or ends."""
SETTLES_S = 20.0

pytestmark = pytest.mark.timeout(120 + 30 * MACHINES)


@dataclass
class Seen:
    """What happened."""

    ends: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    """How the workloads ended whose machine was killed."""
    late: int = 0
    """Kills that came when the machine was gone already; another one was killed in its stead."""


def machines_of(server: Server) -> set[Process]:
    """Every VMM's process below the server."""
    return {process for process in descendants(server.process.pid) if process.name.startswith(VMMS)}


def strike(server: Server, known: set[Process], after_s: float) -> bool:
    """Wait for a machine that was not there before, let some time pass, and kill it; False if it ended before that."""
    found: set[Process] = set()

    def has_come() -> bool:
        found.update(machines_of(server) - known)
        return bool(found)

    wait_until(has_come, "a machine to come", COMES_S)
    time.sleep(after_s)
    living = machines_of(server) - known
    for process in living:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return bool(living)


def run_some(server: Server, http: httpx2.Client, numbers: Iterator[int], kills: int, seen: Seen) -> None:
    """One machine after the other for each number, of which `kills` are struck."""
    chance = random.Random(f"{SEED} {kills}")
    todo = list(numbers)
    victims = set(chance.sample(todo, kills))
    for number in todo:
        known = machines_of(server)
        pause_s = chance.choice([0, 0, 0.2, 0.5])
        code = f"echo {number}; sleep {pause_s}; echo {number} >$CAISSON_OUTPUT"
        asked: dict[str, Any] = {"resources": {"mem_mb": 64, "disk_mb": 64, "timeout_s": 60}}
        workload_id = submit(http, runtime="bash", isolation="microvm", code=code, **asked)
        hit = number in victims and strike(server, known, chance.random() * STRIKE_S)
        ended = wait(http, workload_id)
        reason = ended["error"]["reason"] if ended["error"] else ended["status"]
        seen.ends[reason] += 1
        if hit:
            seen.struck[reason] += 1
        elif number in victims:
            seen.late += 1
            # Whoever comes next and is none yet; the last one's lateness stays.
            victims |= set([each for each in todo if each > number and each not in victims][:1])
        assert ended["status"] == "completed" or (hit and reason in EXCUSES), ended
        assert ended["status"] != "completed" or ended["output"] == number


def traces(server: Server) -> dict[str, list[str]]:
    """Everything a machine has on the host, of whatever machine of this server, while the server runs."""
    sandboxes = server.data_dir.rglob("sandboxes/*")
    return {
        "processes": [f"{each.name} ({each.pid})" for each in descendants(server.process.pid)],
        "control groups": cgroups_naming(f"{server.node_id}.microvm"),
        "mounts": mounts_naming(str(server.folder)) + mounts_naming(server.node_id),
        "folders, disks and chroots": [str(path) for path in sandboxes],
        "temporary files": [str(path) for path in (server.folder / "tmp").rglob("*")],
    }


def files_of(server: Server) -> set[str]:
    """What lies in the data folder, but for the database and its logs, which come and go."""
    found = {str(path.relative_to(server.data_dir)) for path in server.data_dir.rglob("*")}
    return {name for name in found if not name.startswith("caisson.db")}


def descriptors(server: Server) -> Counter[str]:
    """What the server has open, by kind; but for the database, which each of its threads opens when it first reads."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(entry.readlink())
            if not target.startswith(str(server.data_dir / "caisson.db")):
                kinds[target.partition(":")[0] if ":[" in target else target] += 1
    return kinds


def settled(what: Callable[[], Any], wanted: Any) -> Any:
    """What is there once it is as wanted, or after some patience."""
    deadline = time.monotonic() + SETTLES_S
    while (found := what()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_of_machines_that_ended_well_or_were_killed_nothing_is_left(
    start_server: Callable[..., Server], images: Catalog
) -> None:
    seen, began_at = Seen(), time.monotonic()
    booted, killed_booted = int(MACHINES * BOOTED_SHARE), int(KILLS * BOOTED_SHARE)
    if MACHINES < MANY:
        booted = killed_booted = 0
    numbers = iter(range(MACHINES))
    network = set(Path("/run/netns").glob("*"))
    vmm = ""
    for count, kills, snapshots in (
        (MACHINES - booted, KILLS - killed_booted, "true"),
        (booted, killed_booted, "false"),
    ):
        if not count:
            continue
        server = start_server(
            node_id=node_name("soak"),
            backends="microvm",
            images_dir=images.folder,
            templates_dir=TEMPLATES_DIR,
            microvm_emulation="true",
            microvm_snapshots=snapshots,
            warm_microvm_python=0,
        )
        with server.client(120) as http:
            (found,) = http.get("/v1/backends").json()
            if not found["available"]:
                pytest.skip(found["reason"])
            vmm = f"{found['facts']['vmm']} ({found['acceleration']})"
            # What is made once and stays: the template, an empty disk, the kernel's initramfs.
            run_some(server, http, iter([-1]), 0, Seen())
            nothing: dict[str, list[str]] = {kind: [] for kind in traces(server)}
            assert settled(lambda: traces(server), nothing) == nothing  # noqa: B023 - called at once
            files, open_before = files_of(server), descriptors(server)
            run_some(server, http, (next(numbers) for _ in range(count)), kills, seen)
            assert settled(lambda: traces(server), nothing) == nothing  # noqa: B023
            more = settled(lambda: descriptors(server) - open_before, Counter())  # noqa: B023
            assert more == Counter(), "no more than before; a connection that idled may have ended"
            assert files_of(server) == files
        below = descendants(server.process.pid)
        assert server.stop() == 0
        assert_nothing_left(server.folder, server.node_id, below)
        assert {
            str(path) for path in set(Path("/run/netns").glob("*")) - network if server.node_id in path.name
        } == set()
    assert seen.ends.total() == MACHINES
    assert seen.struck.total() + seen.late >= KILLS
    assert seen.struck.total() > 0
    print(  # noqa: T201 - what `make soak` is for
        json.dumps(
            {
                "machines": MACHINES,
                "under": vmm,
                "killed": seen.struck.total(),
                "came too late": seen.late,
                "ends": seen.ends,
                "ends of the killed": seen.struck,
                "left": 0,
                "seconds": round(time.monotonic() - began_at),
            }
        )
    )
