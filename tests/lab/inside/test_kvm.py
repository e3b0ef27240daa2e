"""Micro-VMs on real KVM, under Firecracker in its jailer's jail and under QEMU."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from caisson.backends.microvm.backend import MicrovmBackend
from caisson.model import Resources, Runtime, StartKind
from caisson.sandbox.contract import Event, Exited, Job, Raised, Result, Sandbox
from tests.helpers.leaks import cgroups_naming, mounts_naming
from tests.helpers.parents import started_ahead
from tests.helpers.processes import processes
from tests.lab.inside.conftest import SPEC, make_backend

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = {"firecracker", "jailer", "qemu-system-x86"}
IDENTITY = """
import os, random, socket, time, uuid
def handler(input):
    return {"urandom": os.urandom(16).hex(), "uuid": str(uuid.uuid4()), "random": random.random(),
            "hash": hash("caisson"), "host": socket.gethostname(), "behind_s": input - time.time()}
"""
pytestmark = pytest.mark.timeout(900)


def job(code: str, input: object = None) -> Job:
    return Job(
        "job",
        Runtime.PYTHON,
        "main.py",
        Resources(mem_mb=64, disk_mb=64),
        files={"main.py": code.encode()},
        input=json.dumps(input).encode(),
    )


async def events_of(sandbox: Sandbox, job: Job) -> list[Event]:
    async with asyncio.timeout(120):
        return [event async for event in sandbox.run(job)]


async def run(backend: MicrovmBackend, code: str, input: object = None) -> tuple[list[Event], StartKind]:
    async with backend.boot(backend.pool_spec(SPEC)) as sandbox:
        return await events_of(sandbox, job(code, input)), sandbox.start


def result_of(events: list[Event]) -> Any:
    found = [event for event in events if isinstance(event, Result)]
    assert len(found) == 1, events
    return json.loads(found[0].data)


def programs() -> list[str]:
    return [process.name for process in processes() if process.name in PROGRAMS]


def test_a_function_runs_in_a_copy_of_a_machine_that_was_saved_once(microvm: MicrovmBackend) -> None:
    async def main() -> None:
        starts = []
        for number in range(2):
            events, start = await run(microvm, "def handler(input): return input + 1", number)
            assert result_of(events) == number + 1
            starts.append(start)
        # The first copy of all says what its machine is: one that was booted.
        assert starts[-1] is StartKind.RESTORED

    asyncio.run(main())
    assert programs() == []


def test_copies_that_live_at_once_share_no_randomness_no_name_and_no_old_time(microvm: MicrovmBackend) -> None:
    async def main() -> list[Any]:
        outputs = []
        async with microvm.boot(microvm.pool_spec(SPEC)) as one, microvm.boot(microvm.pool_spec(SPEC)) as other:
            for sandbox in (one, other):
                outputs.append(result_of(await events_of(sandbox, job(IDENTITY, time.time()))))
        return outputs

    one, other = asyncio.run(main())
    assert [name for name in one if one[name] == other[name]] == []
    # Of one and the same clock: what lies between is the way into the machine and the interpreter's start.
    assert one["behind_s"] < 0.010
    assert other["behind_s"] < 0.010


def test_copies_whose_interpreters_were_started_ahead_share_nothing(
    microvm: MicrovmBackend, vmm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if vmm != "qemu":
        pytest.skip("only QEMU's machines can be saved again and again")
    outputs: list[Any] = []
    ahead = started_ahead(monkeypatch)

    async def main() -> None:
        while ahead.count(True) < 3:
            events, _ = await run(microvm, IDENTITY, time.time())
            outputs.append(result_of(events))

    asyncio.run(main())
    for name in ("urandom", "uuid", "random", "hash", "host"):
        assert len({output[name] for output in outputs}) == len(outputs), name
    assert programs() == []


def test_what_firecracker_counts_of_itself_is_in_the_server_s_metrics(microvm: MicrovmBackend, vmm: str) -> None:
    if vmm != "firecracker":
        pytest.skip("only Firecracker counts")
    started = "caisson_firecracker_start_cpu_seconds_count"
    before = REGISTRY.get_sample_value(started) or 0
    asyncio.run(run(microvm, "def handler(input): return 1"))
    assert (REGISTRY.get_sample_value(started) or 0) > before
    for event in ("vcpu_failed", "system_call_denied", "fault_signal", "disk_failed", "channel_failed"):
        assert REGISTRY.get_sample_value("caisson_firecracker_events_total", {"event": event}) == 0, event


def test_what_a_program_does_wrong_is_told_as_its_own(microvm: MicrovmBackend) -> None:
    async def main() -> None:
        events, _ = await run(microvm, "import sys; sys.exit(3)")
        assert events[-1] == Exited(code=3)
        events, _ = await run(microvm, "def handler(input): raise ValueError('no')")
        (raised,) = [event for event in events if isinstance(event, Raised)]
        assert (raised.kind, raised.message) == ("ValueError", "no")
        events, _ = await run(microvm, "def handler(input): return len(bytearray(1 << 30))")
        assert not [event for event in events if isinstance(event, Result)]

    asyncio.run(main())
    assert programs() == []


def test_a_machine_that_waited_long_still_answers_and_a_killed_one_leaves_nothing(
    microvm: MicrovmBackend, vmm: str
) -> None:
    async def main() -> None:
        async with microvm.boot(microvm.pool_spec(SPEC)) as sandbox:
            # Longer than it takes to be stopped, twice.
            for _ in range(2):
                await asyncio.sleep(1)
                assert await sandbox.ping(30)
            # What starts interpreters for others is a machine too.
            await microvm.close()
            await sandbox.kill()
            assert programs() == []

    asyncio.run(main())
    assert mounts_naming(f"lab-{vmm}") == []
    assert cgroups_naming(f"lab-{vmm}") == []


def test_what_a_killed_server_leaves_is_removed_by_the_next(vmm: str, microvm: MicrovmBackend, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("held.py")), vmm, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        # Its log comes the same way.
        lines = iter(server.stdout.readline, b"")
        assert any(line == b"up\n" for line in lines), "it ended before its machine was up"
        server.kill()
    folders = list((tmp_path / "microvm" / "sandboxes").iterdir())
    assert len(folders) == 1
    backend = make_backend(vmm, "lab-held", tmp_path, microvm_snapshots=False)
    assert asyncio.run(backend.reclaim()) == 1
    assert programs() == []
    assert list((tmp_path / "microvm" / "sandboxes").iterdir()) == []
    assert cgroups_naming("lab-held") == []
    assert mounts_naming(str(tmp_path)) == []
    # What was linked into the jail is as it was.
    assert asyncio.run(microvm.probe()).available
