"""The unfinished workloads of this node: each has one task for its whole life, from the store's queue to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path

import msgspec
import structlog

from caisson.engine.admission import Admission
from caisson.engine.changes import Changes
from caisson.engine.live import Live
from caisson.engine.logs import WorkloadLog
from caisson.engine.quotas import Quotas
from caisson.engine.recovery import lost, runs_again
from caisson.engine.runner import Runner
from caisson.errors import CaissonError, StartFailed
from caisson.host.shield import uninterrupted
from caisson.model import Isolation, Reason, Status, Workload, WorkloadSpec
from caisson.store.records import NewWorkload
from caisson.store.store import Store
from caisson.telemetry import span

logger = structlog.get_logger(__name__)

SETTLE_LIMIT_S = 15.0
"""How long shutdown waits for killed workloads to be verified dead and stored."""


class Dispatcher:
    """Begins lives, finds them, and ends them at shutdown."""

    def __init__(
        self, store: Store, admission: Admission, runner: Runner, uploads: Path, changes: Changes, quotas: Quotas
    ) -> None:
        self._store = store
        self._admission = admission
        self._runner = runner
        self._uploads = uploads
        self._changes = changes
        self._quotas = quotas
        self._live: dict[str, Live] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.draining = False
        """True from the begin of shutdown on."""

    def __iter__(self) -> Iterator[Live]:
        return iter(tuple(self._live.values()))

    def use(self, tasks: asyncio.TaskGroup) -> None:
        """Run lives in this group."""
        self._tasks = tasks

    def find(self, workload_id: str, tenant: str) -> Live | None:
        """The accepted, unfinished workload with this id, if it is the tenant's."""
        live = self._live.get(workload_id)
        return live if live is not None and live.tenant == tenant and live.accepted.is_set() else None

    def begin(
        self,
        workload: Workload,
        isolation: Isolation,
        tenant: str,
        spec: WorkloadSpec,
        archive: Path | None,
        new: NewWorkload | None,
        lines: int = 0,
    ) -> Live:
        """Begin a life. `new` is what to put into the store first; None if it is there already, with so many lines."""
        if self._tasks is None:
            raise StartFailed("the engine is not open")
        attached = new is not None and new.attached
        live = Live(workload, tenant, spec, archive, attached, WorkloadLog(workload.id, self._store.append, lines))
        self._live[workload.id] = live
        self._quotas.hold(tenant, spec.resources.mem_mb)
        if attached and new is not None and new.idempotency is None:
            # Whoever waits for it is told nothing before its end, so nothing must be on disk before it begins.
            live.accepted.set()
        live.task = self._tasks.create_task(self._live_through(live, isolation, new), name=f"workload {workload.id}")
        return live

    async def recover(self) -> None:
        """Take up what a former server of this node left unfinished."""
        needed: set[str] = set()
        again = 0
        for stored in await self._store.unfinished():
            isolation = stored.workload.isolation_used
            spec = msgspec.json.decode(stored.spec, type=WorkloadSpec)
            if isolation is None or not runs_again(stored, spec):
                self._store.finish(lost(stored))
                continue
            again += 1
            if stored.archive:
                needed.add(stored.archive)
            archive = self._uploads / stored.archive if stored.archive else None
            begun = stored.workload.status is Status.RUNNING
            lines = await self._store.log_length(stored.workload.id) if begun else 0
            self.begin(stored.workload, isolation, stored.tenant, spec, archive, None, lines)
        if again:
            logger.info("unfinished workloads run now", count=again)
        for path in self._uploads.glob("*"):
            if path.name not in needed:
                await discard(path)

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more, give what runs `grace_s` seconds, kill the rest; what waits is for the next start."""
        self.draining = True
        self._changes.wake()
        for live in self:
            live.log.wake()
            if not live.attached:
                live.defer()
        await self._wait_for_all(grace_s)
        for live in self:
            live.kill(Reason.SHUTDOWN)
        await self._wait_for_all(SETTLE_LIMIT_S)
        for live in self:
            logger.error("given up at shutdown", workload=live.workload.id)
            if live.task is not None:
                live.task.cancel()

    async def _wait_for_all(self, limit_s: float) -> None:
        tasks = [live.task for live in self if live.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)

    async def _live_through(self, live: Live, isolation: Isolation, new: NewWorkload | None) -> None:
        """A workload's whole life as one task; its client may leave at any moment without disturbing it."""
        structlog.contextvars.bind_contextvars(workload=live.workload.id, tenant=live.tenant)
        over = False
        try:
            with span("workload", workload_id=live.workload.id):
                if new is not None:
                    committed = self._store.insert(new)
                    if not live.accepted.is_set():
                        await self._written(live, committed)
                live.accepted.set()
                self._changes.tell(live.tenant, live.workload)
                ticket = self._admission.enter(live.tenant, live.spec.resources.mem_mb)
                await self._runner.run(live, ticket, isolation)
            over = True
        except CaissonError as error:
            live.failure = error
            over = True
        finally:
            self._live.pop(live.workload.id, None)
            self._quotas.release(live.tenant, live.spec.resources.mem_mb)
            self._quotas.spent(live.tenant, live.workload.usage.cpu_ms or 0.0)
            live.accepted.set()
            live.done.set()
        if over:
            # One that was deferred still needs its archive, at the next start.
            await discard(live.archive)

    async def _written(self, live: Live, committed: Awaitable[None]) -> None:
        """Wait until it is on disk, or known not to come there, whoever wants it ended meanwhile: whoever submitted
        it is told which."""

        async def wait() -> None:
            await committed

        try:
            await uninterrupted(wait())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if live.kill_reason is None or task is None:
                raise
            # It is there now, so its end must be written down too, which the runner does when it is cancelled.
            task.uncancel()
            task.cancel()


async def discard(archive: Path | None) -> None:
    """Remove an uploaded archive, if there is one; if it cannot be removed, the next start tries again."""
    if archive is not None:
        try:
            await asyncio.to_thread(archive.unlink, missing_ok=True)
        except (OSError, RuntimeError) as error:
            logger.error("an archive could not be removed", archive=archive.name, error=str(error))
