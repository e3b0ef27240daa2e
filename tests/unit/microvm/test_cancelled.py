"""Work on files that is cancelled ends before its folder is removed, and puts nothing there any more."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.microvm import boot
from caisson.backends.microvm.firecracker import machine
from caisson.backends.microvm.firecracker.machine import FirecrackerMachine
from caisson.backends.microvm.patience import Patience
from caisson.backends.microvm.snapshot import Templates
from tests.helpers.cancelling import PATIENCE_S, cancel_while_held
from tests.helpers.machines import booter, kind

pytestmark = pytest.mark.anyio


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Copies of disks are held before they begin: one has come so far, and may go on."""
    begun, go_on = threading.Event(), threading.Event()

    async def blank(folder: Path, disk_mb: int) -> Path:
        return tmp_path

    def copy(source: Path, target: Path) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        target.touch()

    monkeypatch.setattr(boot, "blank_disk", blank)
    monkeypatch.setattr(boot, "copy_disk", copy)
    return begun, go_on


@pytest.mark.parametrize("saved", [False, True], ids=["booted", "to be saved"])
async def test_a_start_that_is_cancelled_while_its_disk_is_copied_leaves_no_folder(
    saved: bool, tmp_path: Path, disks: tuple[threading.Event, threading.Event]
) -> None:
    templates = Templates(tmp_path / "templates") if saved else None
    starts = booter(tmp_path, Patience(PATIENCE_S), templates)

    async def start() -> None:
        async with starts.boot(kind(tmp_path)):
            raise AssertionError("nothing is up")

    await cancel_while_held(asyncio.create_task(start()), *disks)
    assert not (tmp_path / "home").exists()
    if saved:
        assert list((tmp_path / "templates").iterdir()) == []


async def test_a_saved_firecracker_s_files_are_taken_from_its_jail_before_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Api:
        async def save(self, body: object) -> None:
            pass

    def take(*given: object) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    monkeypatch.setattr(machine, "_take", take)
    api: Any = Api()
    unused: Any = None
    saving = FirecrackerMachine(unused, api, unused, unused, ram_mb=64, to_save=True, running=True).save(tmp_path)
    await cancel_while_held(asyncio.create_task(saving), begun, go_on)
