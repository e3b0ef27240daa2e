"""One workload's run: what its backend has made ready for it is not let go before it has a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest

from caisson.engine.admission import Admission
from caisson.engine.changes import Changes
from caisson.engine.dispatch import Dispatcher
from caisson.engine.pool import Pools
from caisson.engine.quotas import Quotas
from caisson.engine.runner import Runner
from caisson.errors import StartFailed
from caisson.model import Isolation, Status, WorkloadSpec
from caisson.sandbox.contract import BackendContext, SandboxSpec
from caisson.store.store import Store
from tests.helpers.workloads import accepted
from tests.plugins.noop.caisson_noop import NoopBackend, NoopSandbox

pytestmark = pytest.mark.anyio


class QuickStore:
    """A store that takes everything and keeps nothing."""

    async def insert(self, *_: object) -> None:
        pass

    async def start(self, *_: object, **__: object) -> None:
        pass

    append = finish = insert


class Preparing(NoopBackend):
    """Has something for each workload, and boots only while that is held; the first boot fails."""

    def __init__(self, context: BackendContext) -> None:
        super().__init__(context)
        self.held = 0
        self.boots: list[int] = []

    async def prepare(self, spec: SandboxSpec) -> AbstractContextManager[None]:
        return self._hold()

    @contextmanager
    def _hold(self) -> Iterator[None]:
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    @asynccontextmanager
    async def boot(self, spec: SandboxSpec) -> AsyncIterator[NoopSandbox]:
        self.boots.append(self.held)
        if len(self.boots) == 1:
            raise StartFailed("the test wants one more try")
        yield NoopSandbox(spec)


async def test_what_was_prepared_is_held_at_every_boot_and_let_go_at_the_end(tmp_path: Path) -> None:
    backend, store = Preparing(BackendContext("node", tmp_path, None)), cast(Store, QuickStore())
    admission, changes = Admission(places=1, mem_mb=1_024, queue_limit=10), Changes()
    new = accepted(code="print held")
    async with Pools(5).open() as pools, asyncio.TaskGroup() as tasks:
        runner = Runner(store, admission, pools, {Isolation.ISOLATE: backend}, "node", changes)
        dispatcher = Dispatcher(store, admission, runner, tmp_path, changes, Quotas())
        dispatcher.use(tasks)
        spec = msgspec.json.decode(new.spec, type=WorkloadSpec)
        live = dispatcher.begin(new.workload, Isolation.ISOLATE, "default", spec, None, new)
        await live.done.wait()
    assert live.workload.status is Status.COMPLETED
    assert (backend.boots, backend.held) == ([1, 1], 0)
