"""A machine under QEMU that is saved: its files are whole, and a save that is cut short touches nobody else's."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.microvm import qemu_machine
from caisson.backends.microvm.qemu_machine import QemuMachine
from caisson.backends.microvm.vmm import VmmError

MEMORY = b"m" * 4096 + bytes(4096)
STATE = b"state" * 1000
PATIENCE_S = 10.0


class Qmp:
    """QEMU, played by the test: it has the writing end of the state's pipe."""

    refuses: str | None = None

    def __init__(self, connection: socket.socket, on_event: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._on_event = on_event
        self.write_fd = -1
        self.writes = asyncio.Event()

    async def hand_over(self, fd: int, name: str) -> None:
        self.write_fd = os.dup(fd)

    async def execute(self, command: str, **arguments: Any) -> None:
        if command == self.refuses:
            raise VmmError(f"no {command}")
        if command == "migrate":
            os.write(self.write_fd, STATE)
            self.writes.set()

    def complete(self) -> None:
        """All is written."""
        os.close(self.write_fd)
        self._on_event("MIGRATION", {"status": "completed"})


@contextmanager
def memory() -> Iterator[int]:
    """The guest's memory."""
    fd = os.memfd_create("guest", os.MFD_CLOEXEC)
    os.write(fd, MEMORY)
    try:
        yield fd
    finally:
        os.close(fd)


@asynccontextmanager
async def saving(memory_fd: int, folder: Path) -> AsyncIterator[tuple[asyncio.Task[None], Qmp]]:
    """A save that is under way."""
    unused: Any = None
    machine = QemuMachine(unused, unused, unused, unused, memory_fd)
    task = asyncio.create_task(machine.save(folder))
    qmp = machine._qmp
    assert isinstance(qmp, Qmp)
    async with asyncio.timeout(PATIENCE_S):
        yield task, qmp


@pytest.fixture(autouse=True)
def qmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_machine, "Qmp", Qmp)


async def begun(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


def test_a_saved_machine_s_memory_and_state_are_whole(tmp_path: Path) -> None:
    async def save(memory_fd: int) -> None:
        async with saving(memory_fd, tmp_path) as (task, qmp):
            await qmp.writes.wait()
            qmp.complete()
            await task

    with memory() as memory_fd:
        asyncio.run(save(memory_fd))
    assert (tmp_path / "state").read_bytes() == STATE
    assert (tmp_path / "memory").read_bytes() == MEMORY


def test_a_save_that_qemu_refuses_is_the_vmm_s_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Qmp, "refuses", "migrate")

    async def save(memory_fd: int) -> None:
        async with saving(memory_fd, tmp_path) as (task, qmp):
            try:
                await task
            finally:
                os.close(qmp.write_fd)

    with memory() as memory_fd, pytest.raises(VmmError, match="no migrate"):
        asyncio.run(save(memory_fd))


def test_a_save_that_is_cancelled_reads_nothing_from_whoever_has_its_pipe_s_number_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that reads is held before its read until the number is another's."""
    reads, go = threading.Event(), threading.Event()
    numbers: list[int] = []
    read, pipe = os.read, os.pipe

    def held(fd: int, count: int) -> bytes:
        if fd in numbers[:1]:
            reads.set()
            if threading.current_thread() is not threading.main_thread():
                assert go.wait(PATIENCE_S)
        return read(fd, count)

    def noted() -> tuple[int, int]:
        ends = pipe()
        numbers.append(ends[0])
        return ends

    async def cut_short(memory_fd: int) -> None:
        async with saving(memory_fd, tmp_path) as (task, qmp):
            await begun(reads)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            os.close(qmp.write_fd)
            read_fd, write_fd = pipe()
            assert read_fd == numbers[0]
            os.write(write_fd, b"another's")
            os.close(write_fd)
            go.set()

    monkeypatch.setattr(os, "read", held)
    monkeypatch.setattr(os, "pipe", noted)
    with memory() as memory_fd:
        # Its end waits for all threads.
        asyncio.run(cut_short(memory_fd))
    try:
        assert read(numbers[0], 100) == b"another's"
    finally:
        os.close(numbers[0])


def test_a_save_that_is_cancelled_ends_when_its_thread_is_done_with_the_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, go = threading.Event(), threading.Event()
    order: list[str] = []

    def copy(source: int, target: int) -> None:
        copies.set()
        assert go.wait(PATIENCE_S)
        os.fstat(target)
        order.append("copied")

    async def cut_short(memory_fd: int) -> None:
        async with saving(memory_fd, tmp_path) as (task, qmp):
            task.add_done_callback(lambda task: order.append("ended"))
            await qmp.writes.wait()
            qmp.complete()
            await begun(copies)
            task.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    monkeypatch.setattr(qemu_machine, "copy_sparse", copy)
    with memory() as memory_fd:
        asyncio.run(cut_short(memory_fd))
    assert order == ["copied", "ended"]
