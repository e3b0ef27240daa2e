"""A gVisor sandbox: what it runs, what it holds back, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from caisson.backends.gvisor.backend import GvisorBackend
from caisson.backends.gvisor.processes import children
from caisson.backends.gvisor.sandbox import GvisorSandbox
from caisson.errors import SandboxCrashed, StartFailed
from caisson.host.cgroup import Hierarchy, hierarchies
from caisson.images.catalog import Catalog
from caisson.images.errors import ImageInUse
from caisson.model import Resources, Runtime
from caisson.sandbox.contract import Raised, SandboxSpec
from tests.helpers.sandboxes import Ran, job, run_job


def control_groups() -> list[Hierarchy]:
    return hierarchies(Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text())


LOOK = """
ls -la / /work >/dev/null && stat /work >/dev/null && echo listed
touch /usr/x 2>/dev/null || echo held
id -u
cat /proc/1/environ 2>/dev/null | grep -c pytest
ls /sys/class/net
"""


def spec(runtime: Runtime) -> SandboxSpec:
    return SandboxSpec(runtime, mem_mb=0, disk_mb=512)


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


async def run_and_kill_the_sentry(sandbox: GvisorSandbox) -> None:
    async for _ in sandbox.run(job("echo begun; sleep 60", runtime=Runtime.BASH)):
        for pid in children(sandbox.pid):
            with suppress(ProcessLookupError):  # the death of the first may be the end of the others
                os.kill(pid, signal.SIGKILL)


def test_a_shell_finds_an_ordinary_small_system_and_nothing_of_the_host(gvisor: GvisorBackend) -> None:
    ran = run_job(gvisor, job(LOOK, runtime=Runtime.BASH))
    assert ran.stdout.splitlines()[:2] == ["listed", "held"]
    uid, of_the_host, *devices = ran.stdout.splitlines()[2:]
    assert (uid, of_the_host, set(devices) - {"lo"}) == ("65534", "0", set())
    assert ran.exited.code == 0
    assert (ran.usage.cpu_ms or 1) > 0


def test_limits_are_those_of_the_job_though_the_sandbox_knew_none_when_it_was_booted(gvisor: GvisorBackend) -> None:
    hog = "kept = bytearray(200 << 20)\nfor place in range(0, len(kept), 4096): kept[place] = 1\n"
    fits = job(hog + "print(len(kept))", runtime=Runtime.PYTHON, resources=Resources(mem_mb=300))
    assert run_job(gvisor, fits).stdout.strip() == str(200 << 20)
    small = job(hog + "import time; time.sleep(9)", runtime=Runtime.PYTHON, resources=Resources(mem_mb=64))
    assert run_job(gvisor, small).exited.out_of_memory
    full = job("head -c 60M /dev/zero >f; sleep 9", runtime=Runtime.BASH, resources=Resources(disk_mb=16))
    assert run_job(gvisor, full).raised.kind == "disk_full"


@pytest.mark.parametrize("runtime", [Runtime.PYTHON, Runtime.NODE])
def test_what_a_short_program_held_counts_though_it_has_ended(gvisor: GvisorBackend, runtime: Runtime) -> None:
    if runtime is Runtime.PYTHON:
        held = "bytes(200 << 20).count(1)"
        written = "open('f', 'wb').write(bytes(60 << 20))"
        removed = "import os\nfor _ in range(100): open('f', 'ab').write(bytes(1 << 20))\nos.unlink('f')"
    else:
        held = "new Uint8Array(200 << 20).fill(1)"
        piece = "import fs from 'fs'; const piece = new Uint8Array(1 << 20); for (let i = 0; i < 60; i++)"
        written = f"{piece} fs.appendFileSync('f', piece)"
        removed = f"{written}; fs.unlinkSync('f')"

    def run(code: str, **resources: int) -> Ran:
        return run_job(gvisor, job(code, runtime=runtime, resources=Resources(**resources)), timeout_s=60)

    if not any("memory" in each.controllers and os.access(each.own, os.W_OK) for each in control_groups()):
        pytest.skip("this host lets nobody count memory")
    assert run(held, mem_mb=64).exited.out_of_memory
    assert run(written, disk_mb=16).raised.kind == "disk_full"
    for fitting in (run(held, mem_mb=512), run(written), run(removed, mem_mb=48)):
        assert (fitting.exited.code, fitting.exited.out_of_memory) == (0, False)


def test_a_program_gets_no_more_of_the_cpu_than_its_share(gvisor: GvisorBackend) -> None:
    if "cpus" not in asyncio.run(gvisor.probe()).limits:
        pytest.skip("this host lets nobody limit CPU")
    code = "import time\ndef handler(input):\n    end = time.monotonic() + 1.5\n    while time.monotonic() < end: pass"
    ran = run_job(gvisor, job(code, runtime=Runtime.PYTHON, resources=Resources(cpus=0.2)))
    assert ran.failure is None
    # A busy host can only give it less. Unlimited, it would use all of one.
    assert 0 < (ran.usage.cpu_ms or 0) < 750


def test_a_full_disk_is_told_to_the_program(gvisor: GvisorBackend) -> None:
    ran = run_job(
        gvisor,
        job(
            "open('f', 'wb').truncate(1 << 20)\nopen('g', 'wb').write(bytes(600 << 20))",
            runtime=Runtime.PYTHON,
            resources=Resources(mem_mb=2_000),
        ),
        timeout_s=60,
    )
    assert ran.raised.kind == "disk_full"


def test_a_fork_bomb_ends_as_the_programs_own_doing(gvisor: GvisorBackend) -> None:
    ran = run_job(gvisor, job("bomb() { bomb | bomb & }; bomb; sleep 60", runtime=Runtime.BASH), timeout_s=90)
    assert ran.failure is None
    assert ran.exited.signal == signal.SIGKILL
    assert [event.kind for event in ran.events if isinstance(event, Raised)] == ["TooManyProcesses"]


def test_a_program_in_go_is_compiled_once(gvisor: GvisorBackend) -> None:
    source = f'package main\n\nimport "fmt"\n\nfunc main() {{ fmt.Println("{os.getpid()}") }}\n'
    first = run_job(gvisor, job(source, runtime=Runtime.GO), timeout_s=60)
    again = run_job(gvisor, job(source, runtime=Runtime.GO), timeout_s=60)
    assert first.stdout == again.stdout == f"{os.getpid()}\n"
    assert (again.usage.cpu_ms or 0) < (first.usage.cpu_ms or 0) / 4


def test_a_sentry_that_is_killed_is_a_crash_and_never_the_programs_fault(gvisor: GvisorBackend) -> None:
    async def scenario() -> None:
        async with gvisor.boot(spec(Runtime.BASH)) as sandbox:
            assert isinstance(sandbox, GvisorSandbox)
            with pytest.raises(SandboxCrashed):
                await run_and_kill_the_sentry(sandbox)

    asyncio.run(scenario())


def test_a_waiting_sandbox_that_died_fails_to_start_so_that_another_is_taken(gvisor: GvisorBackend) -> None:
    async def scenario() -> None:
        async with gvisor.boot(spec(Runtime.BASH)) as sandbox:
            assert isinstance(sandbox, GvisorSandbox)
            assert await sandbox.ping(5)
            for pid in children(sandbox.pid):
                os.kill(pid, signal.SIGKILL)
            assert not await sandbox.ping(10)
            with pytest.raises(StartFailed):
                async for _ in sandbox.run(job("echo never", runtime=Runtime.BASH)):
                    pass

    asyncio.run(scenario())


def test_killing_it_ends_every_process_and_leaves_no_folder(gvisor: GvisorBackend) -> None:
    async def scenario() -> None:
        async with gvisor.boot(spec(Runtime.BASH)) as sandbox:
            assert isinstance(sandbox, GvisorSandbox)
            pids = {sandbox.pid, *children(sandbox.pid)}
            assert len(pids) == 3
            async for _ in sandbox.run(job("echo begun; sleep 60", runtime=Runtime.BASH)):
                await sandbox.kill()
                break
            assert alive(pids) == set()
            await sandbox.kill()
            folder = sandbox.folder
        assert not folder.exists()

    asyncio.run(scenario())


def test_an_image_in_use_cannot_be_removed(gvisor: GvisorBackend, images: Catalog) -> None:
    async def scenario() -> None:
        image = images.get("base")
        async with gvisor.boot(spec(Runtime.BASH)):
            with pytest.raises(ImageInUse):
                images.remove(image)
        assert images.find("base") == image

    asyncio.run(scenario())
