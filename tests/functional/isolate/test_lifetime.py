"""What a sandbox costs, how it waits, and that nothing of it stays behind, whatever happens to whom."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from caisson.backends.isolate.backend import IsolateBackend
from caisson.errors import StartFailed, Unavailable
from caisson.host.reserve import keeping
from caisson.model import Resources, Runtime
from caisson.sandbox.contract import BackendContext, SandboxSpec
from caisson.settings import Settings
from tests.helpers.leaks import cgroups_naming
from tests.helpers.sandboxes import job, run_job
from tests.helpers.scarcity import held, only

SPEC = SandboxSpec(Runtime.NODE, 64, 4)
MORE_THAN_A_BOOT = 24
"""Descriptors."""


def assert_nothing_left(isolate: IsolateBackend) -> None:
    """No folder and no control group of any sandbox of this node."""
    assert list(isolate._sandboxes.iterdir()) == []
    assert cgroups_naming(isolate._tree.name) == []


def test_usage_is_what_the_run_used(isolate: IsolateBackend) -> None:
    """CPU time and peak memory are those of the program."""
    # By the process's own clock, which stands still while others have the processor.
    code = """
    import process from "node:process";
    const a = new Uint8Array(40 << 20).fill(1);
    const used = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };
    const begun = used();
    while (used() - begun < 300);
    export default () => [used() - begun, a[0]];
    """
    ran = run_job(isolate, job(code))
    usage, burnt_ms = ran.usage, ran.result[0]
    assert usage.cpu_ms is not None
    assert 300 <= burnt_ms <= usage.cpu_ms < burnt_ms + 500
    assert usage.peak_mem_mb is not None
    assert usage.peak_mem_mb > 40


def test_the_cpu_limit_slows_a_program_down(isolate: IsolateBackend) -> None:
    """With a tenth of a CPU, a program gets about a tenth of the time."""
    found = asyncio.run(isolate.probe())
    if "cpus" not in found.limits:
        pytest.skip(f"no CPU limit here: {found.facts['cgroup']}")
    code = "const t = Date.now(); while (Date.now() - t < 1500);"
    usage = run_job(isolate, job(code, resources=Resources(cpus=0.1))).usage
    assert usage.cpu_ms is not None
    assert usage.cpu_ms < 750


def test_a_waiting_sandbox_answers_pings(isolate: IsolateBackend) -> None:
    """As often as it is asked, and it can still run after."""

    async def main() -> list[bool]:
        async with isolate.boot(SPEC) as sandbox:
            answers = [await sandbox.ping(5) for _ in range(3)]
            async for _ in sandbox.run(job("1")):
                pass
        return answers

    assert asyncio.run(main()) == [True] * 3
    assert_nothing_left(isolate)


def test_kill_is_idempotent_and_means_dead(isolate: IsolateBackend) -> None:
    """Afterwards there is no such process; killing again is no error."""

    async def main() -> None:
        async with isolate.boot(SPEC) as sandbox:
            await sandbox.kill()
            pid: int = sandbox.pid  # type: ignore[attr-defined]
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            await sandbox.kill()

    asyncio.run(main())
    assert_nothing_left(isolate)


def test_cancelling_a_run_leaves_nothing(isolate: IsolateBackend) -> None:
    """However early or late the caller goes away."""

    async def use() -> None:
        async with isolate.boot(SPEC) as sandbox:
            async for _ in sandbox.run(job("setInterval(() => console.log(1), 1)")):
                pass

    async def main() -> None:
        for delay_s in (0, 0.005, 0.02, 0.04, 0.08, 0.3):
            try:
                async with asyncio.timeout(delay_s):
                    await use()
            except TimeoutError:
                pass
            assert_nothing_left(isolate)

    asyncio.run(main())


def test_a_boot_that_fails_is_seen_at_once_says_why_and_leaves_nothing(
    isolate: IsolateBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime that is not there, or ends before it has said anything in the channel."""
    guest = isolate._guests[Runtime.NODE]

    async def main() -> None:
        # Much less than the time that a start may take.
        async with asyncio.timeout(isolate._settings.start_timeout_s / 2), isolate.boot(SPEC):
            raise AssertionError("it must not start")

    for command, said in ((["/bin/nothing"], "No such file"), (["/bin/deno", "--version"], "deno 2")):
        monkeypatch.setitem(isolate._guests, Runtime.NODE, replace(guest, command=lambda *_, c=command: c))
        with pytest.raises(StartFailed) as failed:
            asyncio.run(main())
        assert said in failed.value.detail
        assert_nothing_left(isolate)


def test_what_it_cannot_give_is_refused(isolate: IsolateBackend) -> None:
    """No network, and no runtime but its own."""

    async def main(spec: SandboxSpec) -> None:
        async with isolate.boot(spec):
            raise AssertionError("it must not start")

    for spec in (SandboxSpec(Runtime.PYTHON, 64, 4), SandboxSpec(Runtime.NODE, 64, 4, network="egress")):
        with pytest.raises(Unavailable):
            asyncio.run(main(spec))


SERVER = """
import asyncio, sys
from pathlib import Path
from caisson.backends.isolate.backend import IsolateBackend
from caisson.model import Runtime
from caisson.sandbox.contract import BackendContext, SandboxSpec
from caisson.settings import Settings

async def main():
    backend = IsolateBackend(BackendContext(sys.argv[1], Path(sys.argv[2]), Settings()))
    await backend.probe()
    spec = SandboxSpec(Runtime.NODE, 64, 4)
    async with backend.boot(spec), backend.boot(spec):
        print("up", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_what_a_killed_server_left_is_reclaimed(isolate: IsolateBackend, tmp_path: Path) -> None:
    """After SIGKILL of the server its sandboxes die, and the next one removes folders and control groups, once."""
    name = f"killed-{os.getpid()}"
    server = subprocess.Popen([sys.executable, "-c", SERVER, name, tmp_path], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
    assert len(list((tmp_path / "isolate").iterdir())) == 2
    other = IsolateBackend(BackendContext(name, tmp_path, Settings()))
    assert asyncio.run(other.reclaim()) == 2
    assert list((tmp_path / "isolate").iterdir()) == []
    assert cgroups_naming(name) == []
    assert asyncio.run(other.reclaim()) == 0


def test_reclaim_ends_only_the_process_it_knew(isolate: IsolateBackend, tmp_path: Path) -> None:
    """A process that merely has the remembered number, but began at another time, is left alone."""
    folder = tmp_path / "isolate" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(f'{{"processes": {{"{os.getpid()}": 1}}, "cgroups": []}}')
    other = IsolateBackend(BackendContext("reused", tmp_path, Settings()))
    assert asyncio.run(other.reclaim()) == 1
    assert not folder.exists()


def test_a_boot_that_runs_out_of_descriptors_leaves_none_open(isolate: IsolateBackend) -> None:
    """Wherever it does so; what is kept back is enough to undo it."""

    async def boot(free: int) -> bool:
        try:
            with only(free):
                async with isolate.boot(SPEC):
                    return True
        except StartFailed:
            return False

    async def main() -> None:
        # What a loop and its threads keep open is open from the first on.
        assert await boot(MORE_THAN_A_BOOT)
        before = held()
        booted = []
        for free in range(MORE_THAN_A_BOOT):
            booted.append(await boot(free))
            assert held() == before, f"with {free} left"
        assert sorted(booted) == booted
        assert booted[0] != booted[-1]

    with keeping():
        asyncio.run(main())
    assert_nothing_left(isolate)
