"""The VMM to use is the best one that boots something here, and whoever gets none is told what would help."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.microvm import choice
from caisson.backends.microvm.choice import FAILURE_KEPT_S, TRIES, choose, kvm_lacks, kvm_shut_to_jails, try_boot
from caisson.backends.microvm.place import Places
from caisson.backends.microvm.qemu_command import Engine
from caisson.backends.microvm.vmm import Acceleration, Kernel, VmmError
from caisson.errors import Unavailable
from caisson.settings import Settings

KERNEL = Kernel(Path("vmlinux"), Path("initramfs"), "6.1", "digest", needs_acpi=False)

pytestmark = pytest.mark.anyio


class Vmm:
    """A VMM that never really starts anything."""

    version = "1"

    def __init__(self, name: str = "qemu", acceleration: Acceleration = Acceleration.KVM) -> None:
        self.name = name
        self.acceleration = acceleration

    def identity(self, config: object) -> dict[str, str]:
        return {"vmm": self.name, "version": self.version}


class Host:
    """A host on which something boots or does not, as the test says: what was tried stands in `tried`."""

    def __init__(self) -> None:
        self.fails: dict[str, str | None] = {"qemu kvm": None, "qemu emulated": None, "firecracker kvm": None}
        self.tried: list[str] = []
        self.lacking: Unavailable | None = None
        self.shut: Unavailable | None = None
        self.firecracker: Unavailable | None = None
        self.asked_to_fetch: list[bool] = []

    async def boot(self, vmm: Vmm, kernel: Kernel, places: Places, timeout_s: float) -> str | None:
        name = f"{vmm.name} {vmm.acceleration}"
        self.tried.append(name)
        return self.fails[name]

    async def find_firecracker(self, settings: Settings, *, may_fetch: bool) -> Vmm:
        self.asked_to_fetch.append(may_fetch)
        if self.firecracker is not None:
            raise self.firecracker
        return Vmm("firecracker")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose KVM works, with both VMMs."""
    made = Host()

    async def version(binary: str) -> str:
        return "7.2"

    def qemu(engine: Engine, version: str) -> Vmm:
        return Vmm("qemu", engine.acceleration)

    for name, stand_in in {
        "kvm_lacks": lambda: made.lacking,
        "kvm_shut_to_jails": lambda: made.shut,
        "try_boot": made.boot,
        "find_firecracker": made.find_firecracker,
        "find_qemu": lambda: "/usr/bin/qemu",
        "qemu_version": version,
        "QemuVmm": qemu,
        "tsc_khz": lambda: None,
    }.items():
        monkeypatch.setattr(choice, name, stand_in)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


@pytest.fixture
def pick(tmp_path: Path) -> Callable[..., Any]:
    """Choose on a node that remembers, with these settings; `(VMM, why)`, or the Unavailable."""

    async def choose_with(kernel: Kernel = KERNEL, **settings: Any) -> tuple[str, str] | Unavailable:
        given = Settings(data_dir=tmp_path, **settings)
        try:
            found = await choose(kernel, Places("node", tmp_path / "sandboxes", 100_000), tmp_path / "kvm.json", given)
        except Unavailable as error:
            return error
        return f"{found.vmm.name} {found.vmm.acceleration}", found.why

    return choose_with


async def test_firecracker_is_taken_where_kvm_and_it_work(host: Host, pick: Callable[..., Any]) -> None:
    assert await pick() == ("firecracker kvm", "KVM works")
    assert host.tried == ["qemu kvm", "firecracker kvm"]
    assert host.asked_to_fetch == [True]


async def test_qemu_is_taken_where_firecracker_is_not_to_be_had_and_the_reason_told(
    host: Host, pick: Callable[..., Any]
) -> None:
    host.firecracker = Unavailable("Firecracker is not installed", fix="fetch it")
    assert await pick() == ("qemu kvm", "KVM works; without Firecracker: Firecracker is not installed")


async def test_firecracker_is_not_tried_with_a_kernel_it_cannot_boot(host: Host, pick: Callable[..., Any]) -> None:
    compressed = Kernel(Path("bzImage"), Path("initramfs"), "6.1", "digest", needs_acpi=True)
    name, why = await pick(compressed)
    assert name == "qemu kvm"
    assert "does not boot this kernel" in why
    assert host.tried == ["qemu kvm"]


async def test_nothing_is_fetched_for_a_kvm_of_which_nobody_knows_whether_it_works(
    host: Host, pick: Callable[..., Any]
) -> None:
    host.fails["qemu kvm"] = "its agent was not ready within 4 s"
    host.firecracker = Unavailable("Firecracker is not installed", fix="fetch it")
    lacking = await pick()
    assert isinstance(lacking, Unavailable)
    assert host.asked_to_fetch == [False]
    assert "/dev/kvm is there, but does not work (its agent was not ready within 4 s)" in lacking.message
    assert "CAISSON_MICROVM_EMULATION" in (lacking.fix or "")


async def test_an_operator_s_wish_leaves_no_choice(host: Host, pick: Callable[..., Any]) -> None:
    assert (await pick(microvm_vmm="qemu"))[0] == "qemu kvm"
    assert host.asked_to_fetch == []
    host.fails["firecracker kvm"] = "no"
    assert isinstance(await pick(microvm_vmm="firecracker"), Unavailable)
    assert "qemu emulated" not in host.tried


async def test_machines_are_emulated_only_where_the_operator_allows_it(host: Host, pick: Callable[..., Any]) -> None:
    host.lacking = Unavailable("/dev/kvm does not exist", fix="turn it on")
    lacking = await pick()
    assert isinstance(lacking, Unavailable)
    assert (lacking.message, lacking.fix) == ("no hardware virtualisation: /dev/kvm does not exist", "turn it on")
    assert host.tried == []
    assert await pick(microvm_emulation=True) == (
        "qemu emulated",
        "emulated, as CAISSON_MICROVM_EMULATION allows: /dev/kvm does not exist",
    )
    assert isinstance(await pick(microvm_emulation=True, microvm_vmm="firecracker"), Unavailable)
    host.fails["qemu emulated"] = "its console: panic"
    lacking = await pick(microvm_emulation=True)
    assert isinstance(lacking, Unavailable)
    assert lacking.message == "no emulated machine boots: its console: panic"


async def test_a_kvm_that_only_root_may_open_is_not_tried_with_qemu_and_the_command_that_helps_is_told(
    host: Host, pick: Callable[..., Any]
) -> None:
    host.shut = Unavailable("/dev/kvm is for its owner only", fix="chgrp kvm /dev/kvm")
    host.firecracker = Unavailable("Firecracker is not installed", fix="fetch it")
    lacking = await pick()
    assert isinstance(lacking, Unavailable)
    assert lacking.message == "no hardware virtualisation: /dev/kvm is for its owner only"
    assert lacking.fix == "chgrp kvm /dev/kvm"
    assert host.tried == []
    host.firecracker = None
    assert (await pick())[0] == "firecracker kvm", "whose jailer makes a device for each user"


async def test_what_boots_is_remembered_and_what_does_not_is_tried_again_later(
    host: Host, pick: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    host.fails["qemu kvm"] = "hangs"
    wanted: dict[str, Any] = {"microvm_vmm": "qemu"}
    for passed_s, tries in ((0.0, 1), (FAILURE_KEPT_S / 2, 1), (FAILURE_KEPT_S, 2), (-FAILURE_KEPT_S, 3)):
        clock[0] += passed_s
        assert isinstance(await pick(**wanted), Unavailable)
        assert len(host.tried) == tries, f"after {passed_s} s"
    host.fails["qemu kvm"] = None
    clock[0] += 2 * FAILURE_KEPT_S
    assert (await pick(**wanted))[0] == "qemu kvm"
    clock[0] += 1000 * FAILURE_KEPT_S
    assert (await pick(**wanted))[0] == "qemu kvm"
    assert len(host.tried) == 4


@pytest.mark.parametrize("what", ["kernel", "version", "boot"])
async def test_another_kernel_version_or_boot_of_the_host_is_another_question(
    what: str, host: Host, pick: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = KERNEL
    await pick(microvm_vmm="qemu")
    if what == "kernel":
        kernel = Kernel(Path("vmlinux"), Path("initramfs"), "6.1", "another", needs_acpi=False)
    elif what == "version":
        monkeypatch.setattr(Vmm, "version", "2")
    else:
        monkeypatch.setattr(choice, "_boot_id", lambda: "another")
    await pick(kernel, microvm_vmm="qemu")
    assert len(host.tried) == 2


@pytest.mark.parametrize("memory", ["", "{", "[]", "17", '{"key": 1}', '{"failure": null}'])
async def test_a_spoilt_memory_is_no_answer(memory: str, host: Host, pick: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "qemu-kvm.json").write_text(memory)
    assert (await pick(microvm_vmm="qemu"))[0] == "qemu kvm"
    assert host.tried == ["qemu kvm"]
    assert json.loads((tmp_path / "qemu-kvm.json").read_text())["failure"] is None


class Flaky(Vmm):
    """Fails to boot so many times, and is then cancelled by the test: what would come next needs a machine."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.boots = 0
        self._failures = failures

    @asynccontextmanager
    async def boot(self, config: object, home: object, *, to_save: bool = False) -> AsyncIterator[None]:
        self.boots += 1
        if self.boots <= self._failures:
            raise VmmError(f"failure {self.boots}")
        raise asyncio.CancelledError
        yield


class Nowhere:
    """Places for machines that are none."""

    def __init__(self) -> None:
        self.taken = self.left = 0

    @asynccontextmanager
    async def take(self, ram_mb: int, cpus: float) -> AsyncIterator[None]:
        self.taken += 1
        try:
            yield
        finally:
            self.left += 1


async def test_a_boot_that_fails_is_tried_once_more_and_the_last_reason_is_told() -> None:
    places = Nowhere()
    broken = Flaky(failures=9)
    assert await try_boot(broken, KERNEL, places, 1) == f"failure {TRIES}"  # type: ignore[arg-type] # nothing is real
    assert broken.boots == TRIES
    unlucky = Flaky(failures=1)
    with pytest.raises(asyncio.CancelledError):
        await try_boot(unlucky, KERNEL, places, 1)  # type: ignore[arg-type]
    assert unlucky.boots == 2
    assert places.left == places.taken


@pytest.mark.parametrize(
    ("mode", "shut"), [(0o600, True), (0o640, True), (0o620, True), (0o660, False), (0o666, False), (0o606, False)]
)
async def test_the_device_must_be_open_to_its_group_or_to_all(mode: int, shut: bool, tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(mode)
    lacking = kvm_shut_to_jails(device)
    assert (lacking is not None) is shut
    if lacking is not None:
        assert lacking.fix == f"chgrp kvm {device} && chmod 660 {device}"


async def test_a_device_that_is_missing_or_not_for_this_user_is_told_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "kvm"
    missing = kvm_lacks(device)
    assert missing is not None
    assert missing.message == f"{device} does not exist"
    device.touch()
    assert kvm_lacks(device) is None
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    shut = kvm_lacks(device)
    assert shut is not None
    assert (shut.message, shut.fix) == (f"{device} is not for this user", "usermod -aG kvm $USER, then log in again")
