"""A Firecracker as a process among folders, pipes and control groups: nothing is left of it, whatever it does."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from caisson.backends.microvm.firecracker import api as api_module
from caisson.backends.microvm.firecracker.jailer import Programs
from caisson.backends.microvm.firecracker.vmm import FirecrackerVmm
from caisson.backends.microvm.vmm import Drive, EndKind, Home, Kernel, Machine, MachineConfig, Snapshot, VmmError
from caisson.host.cgroup import node_tree
from caisson.host.pipes import readable
from tests.helpers.firecracker_program import METRICS, RAM_BYTES

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A place for one machine."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    tree = node_tree(f"fc-{secrets.token_hex(4)}")
    group = tree.group("machine")
    yield Home("machine", folder, group, None)
    group.remove()
    tree.remove()


@pytest.fixture
def vmm(tmp_path: Path) -> Callable[[str], FirecrackerVmm]:
    """A VMM whose Firecracker behaves in a certain way."""

    def make(mode: str) -> FirecrackerVmm:
        program = tmp_path / "firecracker"
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.helpers.firecracker_program {mode}\n"
        )
        program.chmod(0o755)
        return FirecrackerVmm(Programs(program, None), "1.16.1")

    return make


@pytest.fixture
def config(tmp_path: Path) -> MachineConfig:
    """Hardware whose files exist."""
    for name in ("vmlinux", "initramfs", "root.erofs"):
        (tmp_path / name).write_text(name)
    kernel = Kernel(tmp_path / "vmlinux", tmp_path / "initramfs", "6.1", "digest", needs_acpi=False)
    return MachineConfig(1, RAM_BYTES >> 20, kernel, (Drive(tmp_path / "root.erofs", read_only=True),))


def assert_gone(home: Home) -> None:
    assert list(home.folder.iterdir()) == []
    assert home.group.processes() == set()


async def test_a_machine_is_spoken_to_stopped_saved_and_gone(
    vmm: Callable[[str], FirecrackerVmm], config: MachineConfig, home: Home, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    async with vmm("well").boot(config, home, to_save=True) as machine:
        assert set(machine.pids) & home.group.processes()
        assert (home.folder / "firecracker" / "drive0").samefile(tmp_path / "root.erofs")
        fd = await machine.connect()
        try:
            os.write(fd, b"hello")
            async with asyncio.timeout(10):
                await readable(fd)
            assert os.read(fd, 100) == b"hello"
        finally:
            os.close(fd)
        assert await machine.console() == b"booting\n"
        assert await machine.metrics() == json.loads(METRICS)  # type: ignore[attr-defined] # Firecracker's own
        await machine.pause()
        await machine.save(saved)
    assert_gone(home)
    assert (saved / "state").read_bytes() == b"state"
    memory = (saved / "memory").stat()
    assert memory.st_size == RAM_BYTES
    # With holes where Firecracker wrote zeros.
    assert memory.st_blocks * 512 < RAM_BYTES // 2
    async with vmm("well").load(config, Snapshot(saved, -1), home) as machine:
        await machine.resume()
    assert_gone(home)
    assert (tmp_path / "root.erofs").read_text() == "root.erofs"


async def test_what_firecracker_counted_and_logged_is_in_the_server_s_metrics_and_log(
    vmm: Callable[[str], FirecrackerVmm], config: MachineConfig, home: Home
) -> None:
    def counted(event: str) -> float:
        return REGISTRY.get_sample_value("caisson_firecracker_events_total", {"event": event}) or 0

    before = {event: counted(event) for event in ("vcpu_failed", "console_byte_dropped", "disk_failed")}
    with capture_logs() as logs:
        async with vmm("well").boot(config, home):
            pass
        # A stopped one can be asked nothing, and is not waited for.
        async with vmm("well").boot(config, home) as machine:
            await machine.pause()
    assert counted("vcpu_failed") == before["vcpu_failed"] + 1
    assert counted("console_byte_dropped") == before["console_byte_dropped"] + 2
    assert counted("disk_failed") == before["disk_failed"]
    told = [line for line in logs if line["event"] == "what Firecracker logged"]
    assert [(line["machine"], line["log"]) for line in told] == [("machine", "a word for the log")] * 2
    assert told[0]["vcpu_failed"] == 1


async def test_a_machine_that_waits_uses_no_cpu_and_can_still_be_killed(
    vmm: Callable[[str], FirecrackerVmm], config: MachineConfig, home: Home
) -> None:
    def states(machine: Machine) -> set[str]:
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in machine.pids]
        return {stat.rpartition(")")[2].split()[0] for stat in stats}

    async with vmm("well").boot(config, home) as machine:
        await machine.pause()
        for _ in range(500):
            if "T" in states(machine):
                break
            await asyncio.sleep(0.01)
        assert "T" in states(machine)
        await machine.resume()
        os.close(await machine.connect())
        await machine.pause()
        await machine.kill()
        assert (await machine.wait()).kind is EndKind.DIED
        await machine.kill()
    assert_gone(home)


async def test_a_reset_is_told_from_a_death(
    vmm: Callable[[str], FirecrackerVmm], config: MachineConfig, home: Home
) -> None:
    async with vmm("resets").boot(config, home) as machine, asyncio.timeout(30):
        end = await machine.wait()
    assert (end.kind, end.detail) == (EndKind.RESET, "a word for the log")
    assert_gone(home)


@pytest.mark.parametrize(
    ("mode", "told"), [("refuses", "KVM is not for you"), ("dies", "no such device|a word"), ("silent", "no answer")]
)
async def test_one_that_does_not_start_says_why_and_may_be_tried_again_in_the_same_place(
    vmm: Callable[[str], FirecrackerVmm],
    config: MachineConfig,
    home: Home,
    mode: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if mode == "silent":
        monkeypatch.setattr(api_module.Api._do, "__defaults__", (0.5,))
    for _ in range(2):
        with pytest.raises(VmmError, match=told):
            async with vmm(mode).boot(config, home):
                pass
        assert_gone(home)


async def test_a_hostile_firecracker_cannot_have_the_host_read_its_files_for_it(
    vmm: Callable[[str], FirecrackerVmm], config: MachineConfig, home: Home, tmp_path: Path
) -> None:
    async with vmm("hostile").boot(config, home, to_save=True) as machine:
        await machine.pause()
        with pytest.raises(VmmError, match="not what it should be"):
            await machine.save(tmp_path)
    assert not (tmp_path / "state").exists()
    assert_gone(home)


async def test_a_start_that_is_cancelled_leaves_nothing(
    vmm: Callable[[str], FirecrackerVmm], config: MachineConfig, home: Home
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), vmm("silent").boot(config, home):
            pass
    assert_gone(home)
