"""A workload's life while it is being written down: nothing is told of it before that is known to be done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from caisson.engine.admission import Admission
from caisson.engine.changes import Changes
from caisson.engine.dispatch import Dispatcher
from caisson.engine.live import Live
from caisson.engine.quotas import Quotas
from caisson.engine.runner import Runner
from caisson.model import Isolation, Reason, WorkloadSpec
from caisson.store.errors import StoreError
from caisson.store.store import Store
from tests.helpers.workloads import accepted


class SlowStore:
    """A store whose insert ends when the test says so."""

    def __init__(self) -> None:
        self.inserted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def insert(self, _new: object) -> asyncio.Future[None]:
        return self.inserted

    async def append(self, _chunk: object) -> None:
        pass


class Ends:
    """A runner that runs nothing, and remembers what was to be ended."""

    def __init__(self) -> None:
        self.killed: list[Reason | None] = []

    async def run(self, live: Live, *_: object) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.killed.append(live.kill_reason)


@pytest.mark.parametrize("failure", [None, StoreError("the disk is full")])
@pytest.mark.parametrize("reason", [None, Reason.CLIENT_DISCONNECTED])
def test_one_that_is_ended_while_it_is_written_is_accepted_only_when_that_is_known(
    reason: Reason | None, failure: StoreError | None, tmp_path: Path
) -> None:
    async def scenario() -> None:
        store, ends = SlowStore(), Ends()
        admission = Admission(places=1, mem_mb=1_024, queue_limit=10)
        dispatcher = Dispatcher(cast(Store, store), admission, cast(Runner, ends), tmp_path, Changes(), Quotas())
        async with asyncio.TaskGroup() as tasks:
            dispatcher.use(tasks)
            new = accepted()
            spec = WorkloadSpec(runtime=new.workload.runtime, code="1")
            live = dispatcher.begin(new.workload, Isolation.ISOLATE, "default", spec, None, new)
            await asyncio.sleep(0)
            if reason is None:
                live.defer()
            else:
                live.kill(reason)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not live.accepted.is_set()
            if failure is None:
                store.inserted.set_result(None)
            else:
                store.inserted.set_exception(failure)
            await live.accepted.wait()
            assert live.failure is failure
        # One that is on disk and was to be killed gets its end there too.
        assert ends.killed == ([reason] if reason and failure is None else [])

    asyncio.run(scenario())
