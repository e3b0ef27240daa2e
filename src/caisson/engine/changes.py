"""Tells readers which workloads changed, each at its own pace: of what changed twice, it may see the last only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from caisson.answers import Changed, WorkloadSummary
from caisson.model import Workload

MOST_PENDING = 2_000
"""Changed workloads kept for one slow reader. What is older is dropped, and the reader told so."""


class ChangeReader:
    """What one reader has not seen yet."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self._pending: dict[str, Workload] = {}
        self._missed = False
        self._news = asyncio.Event()

    def note(self, workload: Workload) -> None:
        """Keep a change until it is read."""
        # Out and in again: the order is that of the last change.
        self._pending.pop(workload.id, None)
        self._pending[workload.id] = workload
        if len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]
            self._missed = True
        self._news.set()

    def wake(self) -> None:
        """Let the reader look around, news or not."""
        self._news.set()

    async def take(self, wait_s: float) -> Changed | None:
        """Everything since the last call; None if nothing comes within `wait_s` seconds."""
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return None
        self._news.clear()
        if not self._pending:
            return None
        changed = Changed(
            workloads=[summary(workload) for workload in self._pending.values()],
            missed=self._missed,
        )
        self._pending.clear()
        self._missed = False
        return changed


class Changes:
    """Where changes are told and read."""

    def __init__(self) -> None:
        self._readers: set[ChangeReader] = set()

    def tell(self, tenant: str, workload: Workload) -> None:
        """A workload of `tenant` has a new state."""
        for reader in self._readers:
            if reader.tenant == tenant:
                reader.note(workload)

    def wake(self) -> None:
        """Let every reader look around."""
        for reader in self._readers:
            reader.wake()

    @contextmanager
    def reader(self, tenant: str) -> Iterator[ChangeReader]:
        """A reader of what changes from now on."""
        reader = ChangeReader(tenant)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)


def summary(workload: Workload) -> WorkloadSummary:
    """What a list shows of it."""
    return WorkloadSummary(**{name: getattr(workload, name) for name in WorkloadSummary.__struct_fields__})
