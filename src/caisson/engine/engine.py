"""The engine: everything the API can ask for, over the store, the queue, the pools and the runner."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

import msgspec
import structlog

from caisson import metrics
from caisson.answers import (
    BackendView,
    Changed,
    IsolationOption,
    Load,
    LogPage,
    NodeView,
    Routing,
    Stats,
    WorkloadPage,
)
from caisson.engine.admission import Admission
from caisson.engine.changes import Changes
from caisson.engine.dispatch import Dispatcher
from caisson.engine.intake import Intake, Submission, storage_failed
from caisson.engine.live import Live
from caisson.engine.pool import Pools
from caisson.engine.prober import Prober
from caisson.engine.quotas import Quotas
from caisson.engine.routing import options, route
from caisson.engine.runner import Runner
from caisson.engine.stats import WINDOW_S, interval_of, latencies, series
from caisson.engine.views import backend_views, node_view
from caisson.errors import Refusal, Refused
from caisson.host.load import host_load
from caisson.images.catalog import Catalog
from caisson.images.oci.claims import Claims
from caisson.images.oci.store import OciStore
from caisson.model import (
    Isolation,
    IsolationChoice,
    LogLine,
    Network,
    Reason,
    Runtime,
    Workload,
    WorkloadSpec,
)
from caisson.sandbox.contract import Backend, Capabilities
from caisson.settings import Settings
from caisson.store.records import ListQuery
from caisson.store.store import FIGURES, Store

logger = structlog.get_logger(__name__)

PAGE_LINES = 10_000
PAGE_BYTES = 4 << 20
LOOK_EVERY_S = 1.0
CHANGES_APART_S = 0.1
"""At least this long between two batches of changes: a busy server would tell of little else."""


class Engine:
    """One node's engine. Usable between entering and leaving `open`."""

    def __init__(self, settings: Settings, store: Store, backends: Mapping[Isolation, Backend], node_id: str) -> None:
        self._settings = settings
        self._store = store
        self._node_id = node_id
        quotas = Quotas()
        self._admission = Admission(
            places=settings.running_limit,
            mem_mb=settings.memory_limit_mb,
            queue_limit=settings.queue_limit,
            weight=quotas.weight,
        )
        self._pools = Pools(
            settings.start_timeout_s,
            budget_mb=settings.warm_limit_mb,
            growth=settings.warm_growth,
            age_s=settings.warm_age_s,
        )
        self._prober = Prober(backends, self._pools, Catalog(settings.images_folder))
        self._changes = Changes()
        runner = Runner(store, self._admission, self._pools, backends, node_id, self._changes)
        self._dispatcher = Dispatcher(
            store, self._admission, runner, settings.data_dir / "uploads", self._changes, quotas
        )
        self._intake = Intake(
            store, self._admission, self._dispatcher, quotas, Claims(OciStore(settings.oci_folder)), self._prober.found
        )
        self._started_at = datetime.now(UTC)
        metrics.workloads_queued.set_function(lambda: self._admission.queued)
        metrics.workloads_running.set_function(lambda: self._admission.running)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Engine]:
        """Find out what the host can do, take up what was left unfinished, and serve until left."""
        async with self._pools.open(), asyncio.TaskGroup() as tasks:
            self._dispatcher.use(tasks)
            await self._prober.begin()
            await self._intake.recall()
            await self._dispatcher.recover()
            keepers = [tasks.create_task(self._intake.keep_policies()), tasks.create_task(self._prober.keep())]
            try:
                yield self
            finally:
                for keeper in keepers:
                    keeper.cancel()
                await self.drain(0)

    @property
    def capabilities(self) -> Mapping[Isolation, Capabilities]:
        """What each isolation can do here, as its last probe found."""
        return self._prober.found

    def check(self, spec: WorkloadSpec, tenant: str) -> None:
        """Raise Refused for what could not be run here and now."""
        self._intake.decide(Submission(spec, tenant))

    async def run(self, submission: Submission) -> Workload:
        """Run and wait for the end. Being cancelled kills the workload and returns when it is verified dead."""
        live = await self._intake.admit(submission, attached=True)
        if isinstance(live, str):
            return await self.get(live, submission.tenant, wait_s=float("inf"))
        try:
            await live.done.wait()
        except asyncio.CancelledError:
            live.kill(Reason.CLIENT_DISCONNECTED)
            await live.done.wait()
            raise
        return _settled(live)

    async def accept(self, submission: Submission) -> Workload:
        """Accept for running later; durable when this returns."""
        live = await self._intake.admit(submission, attached=False)
        if isinstance(live, str):
            return await self.get(live, submission.tenant)
        return live.workload

    async def get(self, workload_id: str, tenant: str, wait_s: float = 0) -> Workload:
        """One workload, at the latest after `wait_s` seconds of waiting for its end. Raises Refused (404)."""
        live = self._dispatcher.find(workload_id, tenant)
        if live is None:
            stored = await self._store.get(workload_id, tenant)
            if stored is None:
                raise _not_found(workload_id)
            return stored.workload
        if wait_s > 0:
            try:
                async with asyncio.timeout(None if wait_s == float("inf") else wait_s):
                    await live.done.wait()
            except TimeoutError:
                return live.workload
            return _settled(live)
        return live.workload

    async def kill(self, workload_id: str, tenant: str) -> Workload:
        """End a workload; returns when it is verified dead. Raises Refused (404, 409 if it is already terminal)."""
        live = self._dispatcher.find(workload_id, tenant)
        if live is None:
            raise _already_over(await self.get(workload_id, tenant))
        live.kill(Reason.KILLED_BY_USER)
        await live.done.wait()
        workload = _settled(live)
        if workload.error is None or workload.error.reason is not Reason.KILLED_BY_USER:
            raise _already_over(workload)
        return workload

    async def list(self, query: ListQuery) -> WorkloadPage:
        """A page of workloads, newest first."""
        return await self._store.list(query)

    async def follow(self, workload_id: str, tenant: str, after: int) -> AsyncGenerator[Sequence[LogLine] | Workload]:
        """Batches of log lines with a number above `after`, then the terminal workload.

        Ends without it when the server shuts down; whoever follows connects anew and goes on where it was. Raises
        Refused (404) at the first step.
        """
        live = self._dispatcher.find(workload_id, tenant)
        workload = live.workload if live else await self.get(workload_id, tenant)
        while live is not None:
            if self._dispatcher.draining:
                return
            if after + 1 < live.log.committed:
                lines: Sequence[LogLine] | None = live.log.tail(after)
                if lines is None:
                    lines = await self._store.log_lines(workload_id, after, PAGE_LINES, PAGE_BYTES)
                yield lines
                after = lines[-1].seq
            elif live.log.closed:
                yield live.workload
                return
            else:
                await live.log.change()
        while lines := await self._store.log_lines(workload_id, after, PAGE_LINES, PAGE_BYTES):
            yield lines
            after = lines[-1].seq
        yield workload

    async def history(self, workload_id: str, tenant: str, after: int, limit: int) -> LogPage:
        """Stored log lines with a number above `after`, at most `limit`. Raises Refused (404)."""
        await self.get(workload_id, tenant)
        lines = await self._store.log_lines(workload_id, after, limit, PAGE_BYTES)
        return LogPage(workload_id=workload_id, lines=lines, next_seq=lines[-1].seq if lines else after)

    async def backends(self) -> builtins.list[BackendView]:
        """What each isolation can do here."""
        return backend_views(self._prober.found, self._pools.views())

    async def nodes(self, tenant: str) -> builtins.list[NodeView]:
        """This node, with the tenant's running workloads."""
        return [
            node_view(
                self._node_id,
                tenant,
                self._settings,
                self._admission,
                self._dispatcher,
                (name for name, found in self._prober.found.items() if found.available),
                self._started_at,
                await asyncio.to_thread(host_load, self._settings.data_dir),
                draining=self._dispatcher.draining,
            )
        ]

    async def stats(self, tenant: str, window_s: int = WINDOW_S, *, of_host: bool = True) -> Stats:
        """Counts, latencies and time series over the tenant's workloads; the host's load only if wanted."""
        since = datetime.now(UTC) - timedelta(seconds=window_s)
        finished = await self._store.finished_since(tenant, since)
        queued, running = self._admission.share_of(tenant)
        return Stats(
            counts=await self._store.counts(tenant),
            latency=latencies(finished),
            window_s=window_s,
            since=finished[-1].finished_at if len(finished) >= FIGURES else since,
            interval_s=interval_of(window_s),
            series=series(finished, interval_of(window_s)),
            pools=dict(self._pools.views()),
            host=await asyncio.to_thread(host_load, self._settings.data_dir) if of_host else None,
            queued=queued,
            running=running,
            log_streams=metrics.open_log_streams(),
        )

    async def spec(self, workload_id: str, tenant: str) -> bytes:
        """What was asked for, as JSON; an archive is not part of it. Raises Refused (404)."""
        live = self._dispatcher.find(workload_id, tenant)
        if live is not None:
            return msgspec.json.encode(live.spec)
        stored = await self._store.get(workload_id, tenant)
        if stored is None:
            raise _not_found(workload_id)
        return stored.spec

    def routing(self, runtime: Runtime, choice: IsolationChoice, network: Network) -> Routing:
        """What would be chosen now, and what each isolation says to it. Never raises."""
        try:
            chosen = route(runtime, choice, network, self._prober.found)
        except Refused as refused:
            isolation, reason = None, refused.message
        else:
            isolation, reason = chosen.isolation, chosen.reason
        return Routing(
            isolation=isolation,
            reason=reason,
            options=[
                IsolationOption(isolation=name, possible=refusal is None, reason=refusal.message if refusal else None)
                for name, refusal in options(runtime, network, self._prober.found)
            ],
        )

    async def watch(self, tenant: str, limit_s: float) -> AsyncGenerator[Changed | Load]:
        """What changes from now on: the tenant's workloads, and the load when it is another.

        Ends after `limit_s` seconds, and at shutdown.
        """
        ends_at = monotonic() + limit_s
        with self._changes.reader(tenant) as reader:
            told: Load | None = None
            while not self._dispatcher.draining:
                queued, running = self._admission.share_of(tenant)
                load = Load(queued=queued, running=running, pools=dict(self._pools.views()))
                if load != told:
                    yield load
                    told = load
                left_s = ends_at - monotonic()
                if left_s <= 0:
                    return
                changed = await reader.take(min(LOOK_EVERY_S, left_s))
                if changed is not None:
                    yield changed
                    await asyncio.sleep(CHANGES_APART_S)

    async def readiness(self) -> str | None:
        """None when workloads can be run, else why not."""
        if self._dispatcher.draining:
            return "the server is shutting down"
        if not any(found.available for found in self._prober.found.values()):
            return "no isolation is available on this host; run `caisson doctor`"
        return await self._store.problem()

    async def drain(self, grace_s: float) -> None:
        """Accept nothing more, give what runs `grace_s` seconds, kill the rest; what waits is for the next start."""
        await self._dispatcher.drain(grace_s)


def _settled(live: Live) -> Workload:
    if live.failure is not None:
        raise storage_failed(live.failure)
    return live.workload


def _not_found(workload_id: str) -> Refused:
    return Refused(404, Refusal.NOT_FOUND, f"there is no workload {workload_id}", member="id")


def _already_over(workload: Workload) -> Refused:
    return Refused(409, Refusal.CONFLICT, f"workload {workload.id} is already {workload.status}", member="id")
