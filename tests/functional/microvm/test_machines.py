"""A micro-VM: what it is, what makes each copy its own, what holds it back, and how it ends."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from caisson.backends.microvm import sandbox as sandbox_module
from caisson.backends.microvm.backend import MicrovmBackend
from caisson.backends.microvm.qemu_command import CONSOLE_BYTES
from caisson.backends.microvm.qemu_machine import QemuMachine
from caisson.backends.microvm.sandbox import IDLE_S, MicrovmSandbox
from caisson.errors import SandboxCrashed
from caisson.model import Resources, Runtime, StartKind
from caisson.sandbox.contract import BackendContext, Job, Result, SandboxSpec
from caisson.settings import Settings
from tests.helpers.images import TEMPLATES_DIR
from tests.helpers.leaks import cgroups_naming
from tests.helpers.sandboxes import Ran, job, run_job

SMALL = Resources(mem_mb=64, disk_mb=64, timeout_s=60)
SPEC = SandboxSpec(Runtime.BASH, SMALL.mem_mb, SMALL.disk_mb)
CLOCK_S = 0.010
FILES_MB = 16
"""What a program may have of what it executes and reads beside what it holds, at its worst."""
LOOK = """
uname -r; id -u; cat /proc/1/comm; ls /sys/class/net; nproc
touch /caisson/x 2>/dev/null || echo tools are read-only
echo 1 >/usr/x 2>/dev/null || echo system is read-only
echo kept >here && cat here
grep -c . /proc/1/environ 2>/dev/null || echo no look at the agent
for each in /dev/console /dev/ttyS0 /dev/kmsg /dev/vport0p1 /dev/vda /dev/vdb; do
    (: >$each) 2>/dev/null && echo $each is open
done
echo no device is open
"""
SIZES = """
nproc; cat /sys/fs/cgroup/process-*/memory.max
fallocate -l 80M here && echo it fits; fallocate -l 30M there 2>/dev/null || echo it does not
"""
OWN = """
import os, random, socket, time, uuid
def handler(input):
    return {
        "clock": time.time(), "getrandom": os.urandom(16).hex(), "uuid4": str(uuid.uuid4()), "random": random.random(),
        "hash": hash("caisson"), "name": socket.gethostname(), "machine": open("/etc/machine-id").read(),
    }
"""


def small(code: str, runtime: Runtime = Runtime.BASH, timeout_s: float = 60) -> Job:
    return job(code, runtime=runtime, resources=Resources(mem_mb=64, disk_mb=64, timeout_s=timeout_s))


def assert_nothing_left(microvm: MicrovmBackend) -> None:
    """No folder and no control group of any machine of this node."""
    assert list(microvm._places.sandboxes.iterdir()) == []
    assert cgroups_naming(microvm._places._tree.name) == []


def test_a_program_finds_a_machine_of_its_own_and_nothing_of_the_host(microvm: MicrovmBackend) -> None:
    ran = run_job(microvm, small(LOOK), 60)
    lines = ran.stdout.splitlines()
    assert lines[0] != platform.release()
    assert lines[1:5] == ["1000", "agent", "lo", "1"]
    assert lines[5:] == [
        *("tools are read-only", "system is read-only", "kept", "no look at the agent", "no device is open")
    ]
    assert ran.exited.code == 0
    assert (ran.usage.cpu_ms or 1) > 0
    assert_nothing_left(microvm)


def test_copies_share_no_randomness_name_or_seed_and_know_the_time(microvm: MicrovmBackend) -> None:
    """Of one template, at once and one after the other."""

    async def one() -> tuple[float, dict[str, object], float]:
        async with microvm.boot(microvm.pool_spec(SandboxSpec(Runtime.PYTHON, 64, 64))) as sandbox:
            assert sandbox.start in (StartKind.RESTORED, StartKind.COLD)
            ran = Ran()
            before = time.time()
            async for event in sandbox.run(small(OWN, Runtime.PYTHON)):
                after = time.time()
                ran.events.append(event)
                if isinstance(event, Result):
                    heard = after
            return before, ran.result, heard

    async def several() -> list[tuple[float, dict[str, object], float]]:
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(one()) for _ in range(2)]
        return [*(task.result() for task in both), await one()]

    told = asyncio.run(several())
    for member in ("getrandom", "uuid4", "random", "hash", "name", "machine"):
        assert len({str(said[member]) for _, said, _ in told}) == len(told), member
    for before, said, after in told:
        clock = said["clock"]
        assert isinstance(clock, float)
        assert before - CLOCK_S <= clock <= after + CLOCK_S


def test_a_machine_that_waits_is_stopped_and_knows_the_time_when_it_goes_on(microvm: MicrovmBackend) -> None:
    async def wait_and_ask() -> tuple[int, float, float, float]:
        async with microvm.boot(microvm.pool_spec(SPEC)) as sandbox:
            assert isinstance(sandbox, MicrovmSandbox)
            await asyncio.sleep(IDLE_S + 0.5)
            used = sandbox._home.group.read().cpu_us or 0
            await asyncio.sleep(1)
            used = (sandbox._home.group.read().cpu_us or 0) - used
            assert await sandbox.ping(10)
            ran, before = Ran(), time.time()
            async for event in sandbox.run(small("date +%s.%N")):
                ran.events.append(event)
            return used, before, float(ran.stdout), time.time()

    used_us, before, clock, after = asyncio.run(wait_and_ask())
    assert used_us < 50_000, "a stopped machine costs next to nothing"
    assert before - CLOCK_S <= clock <= after + CLOCK_S


def test_memory_disk_and_processes_are_limited_and_each_says_so(microvm: MicrovmBackend) -> None:
    hog = "kept = []\nwhile True: kept.append(bytes(5000))\n"
    ran = run_job(microvm, small(hog, Runtime.PYTHON), 90)
    assert ran.exited.out_of_memory
    assert 60 < (ran.usage.peak_mem_mb or 0) <= 64 + FILES_MB
    filler = "with open('f', 'wb') as f:\n    while True: f.write(bytes(1 << 20))\n"
    assert run_job(microvm, small(filler, Runtime.PYTHON), 90).raised.kind == "disk_full"
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 1; echo $(ls -d /proc/[0-9]* | wc -l) there"
    ran = run_job(microvm, small(bomb), 10)
    assert ran.timed_out or ran.exited is not None
    assert ran.failure is None, "the agent beside a fork bomb still answers"
    assert_nothing_left(microvm)


def test_sizes_are_those_that_were_asked_for_though_the_machine_s_are_rounded_up(microvm: MicrovmBackend) -> None:
    resources = Resources(mem_mb=100, disk_mb=100, cpus=1.5, timeout_s=60)
    ran = run_job(microvm, job(SIZES, runtime=Runtime.BASH, resources=resources), 60)
    assert ran.stdout.split("\n")[:4] == ["2", str(100 + FILES_MB << 20), "it fits", "it does not"]


def test_a_machine_that_falls_silent_is_ended_as_a_crash_and_its_console_holds_no_more_than_it_may(
    microvm: MicrovmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_module, "_LOOK_S", 0.2)
    monkeypatch.setattr(sandbox_module, "_SILENCE_S", 2.0)

    async def silence() -> tuple[str, int]:
        async with microvm.boot(microvm.pool_spec(SPEC)) as sandbox:
            assert isinstance(sandbox, MicrovmSandbox)
            machine = sandbox._machine
            assert isinstance(machine, QemuMachine)
            try:
                async for _ in sandbox.run(small("echo begun; sleep 60")):
                    for _ in range(3):
                        await machine._qmp.execute("ringbuf-write", device="console", data="x" * (CONSOLE_BYTES - 1))
                    written = len(await machine.console())
                    os.kill(machine.pids[-1], signal.SIGSTOP)
            except SandboxCrashed as error:
                return error.message, written
        return "it went on", 0

    assert asyncio.run(silence()) == ("the sandbox's agent fell silent", CONSOLE_BYTES)
    assert_nothing_left(microvm)


def test_a_go_program_is_compiled_once_and_kept(microvm: MicrovmBackend) -> None:
    source = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("out") }\n'
    resources = Resources(mem_mb=256, disk_mb=64, timeout_s=120)
    first, again = (run_job(microvm, job(source, runtime=Runtime.GO, resources=resources), 120) for _ in range(2))
    assert first.stdout == again.stdout == "out\n"
    assert (again.usage.cpu_ms or 0) < (first.usage.cpu_ms or 1)


def test_a_kernel_that_panics_and_a_vmm_that_is_killed_are_crashes_of_the_sandbox(microvm: MicrovmBackend) -> None:
    async def crash(by: str) -> str:
        async with microvm.boot(microvm.pool_spec(SPEC)) as sandbox:
            assert isinstance(sandbox, MicrovmSandbox)
            machine = sandbox._machine
            try:
                async for _ in sandbox.run(small("echo begun; sleep 60")):
                    if by == "reset":
                        # With `panic=-1` a panic and a reset are the same to whoever looks from outside.
                        assert isinstance(machine, QemuMachine)
                        await machine._qmp.execute("system_reset")
                    else:
                        os.kill(machine.pids[-1], signal.SIGKILL)
            except SandboxCrashed as error:
                return error.message
        return "it went on"

    assert "panicked" in asyncio.run(crash("reset"))
    assert "died" in asyncio.run(crash("kill"))
    assert_nothing_left(microvm)


def test_a_dead_server_s_machines_are_removed_by_the_next_one(microvm: MicrovmBackend, tmp_path: Path) -> None:
    """Processes, control groups, folders and disks; and not a second time."""
    node = f"dead-{os.getpid()}"
    catalog = microvm._catalog.folder
    dying = [sys.executable, __file__, node, str(tmp_path), str(catalog)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(dying, stdout=subprocess.PIPE, env=env) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"2 wait\n"
        server.kill()
    settings = Settings(images_dir=catalog, templates_dir=TEMPLATES_DIR, microvm_emulation=True)
    successor = MicrovmBackend(BackendContext(node, tmp_path, settings))
    assert asyncio.run(successor.reclaim()) == 2
    assert asyncio.run(successor.reclaim()) == 0
    assert_nothing_left(successor)


async def _serve_and_wait(node: str, folder: Path, catalog: Path) -> None:
    """What the server that will be killed does."""
    settings = Settings(images_dir=catalog, templates_dir=TEMPLATES_DIR, microvm_emulation=True)
    backend = MicrovmBackend(BackendContext(node, folder, settings))
    assert (await backend.probe()).available
    spec = backend.pool_spec(SPEC)
    async with backend.boot(spec), backend.boot(spec):
        sys.stdout.write("2 wait\n")
        sys.stdout.flush()
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(_serve_and_wait(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
