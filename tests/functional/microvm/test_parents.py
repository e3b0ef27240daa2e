"""Copies whose interpreter another machine started: they share nothing, and that machine's end is nobody's."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from caisson.backends.microvm import boot, qemu_machine
from caisson.backends.microvm.backend import MicrovmBackend
from caisson.backends.microvm.boot import Booter
from caisson.errors import StartFailed
from caisson.model import Resources, Runtime, StartKind
from caisson.sandbox.contract import SandboxSpec
from tests.functional.microvm.test_machines import OWN, assert_nothing_left
from tests.helpers.parents import started_ahead
from tests.helpers.sandboxes import Ran, job

SMALL = Resources(mem_mb=64, disk_mb=64, timeout_s=60)
PATIENCE_S = 90


@pytest.fixture
def taken(microvm: MicrovmBackend, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every copy that was begun: whether its interpreter was started by a parent."""
    if microvm._parents is None:
        pytest.skip("changing another process's memory takes root")
    return started_ahead(monkeypatch)


async def own(microvm: MicrovmBackend) -> dict[str, object]:
    """What a program of its own finds in a copy of its own."""
    async with microvm.boot(microvm.pool_spec(SandboxSpec(Runtime.PYTHON, 64, 64))) as sandbox:
        assert sandbox.start in (StartKind.RESTORED, StartKind.COLD)
        ran = Ran()
        async for event in sandbox.run(job(OWN, runtime=Runtime.PYTHON, resources=SMALL)):
            ran.events.append(event)
        result: dict[str, object] = ran.result
        return result


async def until_borne(microvm: MicrovmBackend, taken: list[bool]) -> None:
    """Begin copies until a parent has started the interpreter of one."""
    async with asyncio.timeout(PATIENCE_S):
        while True not in taken:
            await own(microvm)


@asynccontextmanager
async def closing(microvm: MicrovmBackend) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await microvm.close()


def test_copies_share_nothing_with_each_other_and_parents_leave_nothing(
    microvm: MicrovmBackend, taken: list[bool]
) -> None:
    async def several() -> list[dict[str, object]]:
        async with closing(microvm):
            await until_borne(microvm, taken)
            taken.clear()
            first = [await own(microvm) for _ in range(2)]
            return [*first, *await asyncio.gather(own(microvm), own(microvm))]

    told = asyncio.run(several())
    assert taken == [True] * 4
    for member in ("getrandom", "uuid4", "random", "hash", "name", "machine"):
        assert len({str(said[member]) for said in told}) == len(told), member
    assert_nothing_left(microvm)


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes of all parents that were brought up."""
    told: list[int] = []
    raised = Booter._parent

    @asynccontextmanager
    async def noted(self: Booter, *given: object) -> AsyncIterator[object]:
        async with raised(self, *given) as parent:  # type: ignore[arg-type] # passed on as they are
            told.append(parent.machine.pids[-1])
            yield parent

    monkeypatch.setattr(Booter, "_parent", noted)
    return told


def test_a_parent_that_hangs_costs_nobody_a_start(
    microvm: MicrovmBackend, taken: list[bool], pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for its child for long begins the interpreter itself."""
    monkeypatch.setattr(boot, "CHILD_S", 0.5)

    async def hang() -> None:
        async with closing(microvm):
            await until_borne(microvm, taken)
            os.kill(pids[-1], signal.SIGSTOP)
            for _ in range(3):
                await own(microvm)

    asyncio.run(hang())
    assert len(pids) == 1
    assert_nothing_left(microvm)


def test_a_parent_that_is_killed_costs_nobody_a_start(
    microvm: MicrovmBackend, taken: list[bool], pids: list[int]
) -> None:
    """The copies begin their interpreters themselves, until another parent is there."""

    async def kill() -> None:
        async with closing(microvm):
            await until_borne(microvm, taken)
            os.kill(pids[-1], signal.SIGKILL)
            taken.clear()
            await until_borne(microvm, taken)

    asyncio.run(kill())
    assert len(pids) == 2
    assert_nothing_left(microvm)


def test_where_no_memory_may_be_written_one_start_fails_and_those_after_it_go_without(
    microvm: MicrovmBackend, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, pages: object) -> None:
        raise PermissionError("no ptrace here")

    monkeypatch.setattr(qemu_machine, "write_into", refuse)

    async def begin() -> None:
        async with closing(microvm):
            with pytest.raises(StartFailed) as failure:
                await until_borne(microvm, taken)
            assert "no ptrace here" in (failure.value.detail or "")
            taken.clear()
            await own(microvm)

    assert microvm._parents is not None
    monkeypatch.setattr(microvm._parents, "is_of_use", True)
    asyncio.run(begin())
    assert taken == [False]
    assert_nothing_left(microvm)
