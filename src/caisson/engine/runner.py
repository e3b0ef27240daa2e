"""Runs one workload: takes a sandbox, hands it the job, follows what comes out, keeps the deadline, settles."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime
from time import monotonic

import structlog
from msgspec import Raw
from msgspec.structs import replace

from caisson import metrics
from caisson.engine.admission import Admission, Ticket
from caisson.engine.changes import Changes
from caisson.engine.live import Live
from caisson.engine.outcome import Outcome, Seen, decide
from caisson.engine.pool import Pools
from caisson.engine.recovery import begins_anew
from caisson.errors import SandboxError, StartFailed
from caisson.model import Isolation, Reason, Resources, StartKind, Status, Timings, Usage
from caisson.sandbox.contract import Backend, Exited, Job, Output, Raised, Sandbox, SandboxSpec, machine_facts
from caisson.sandbox.runtimes import plan
from caisson.store.errors import StoreError
from caisson.store.store import Store

logger = structlog.get_logger(__name__)

KILL_MESSAGES = {
    Reason.CLIENT_DISCONNECTED: "the client that waited for the result went away",
    Reason.KILLED_BY_USER: "killed on request",
    Reason.SHUTDOWN: "the server was shut down before the program ended",
}
STORE_RETRY_S = 1.0


class Runner:
    """Carries out accepted workloads on this node."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        pools: Pools,
        backends: Mapping[Isolation, Backend],
        node_id: str,
        changes: Changes,
    ) -> None:
        self._store = store
        self._admission = admission
        self._pools = pools
        self._backends = backends
        self._node_id = node_id
        self._changes = changes

    async def run(self, live: Live, ticket: Ticket, isolation: Isolation) -> None:
        """From its ticket to a terminal state in the store.

        It is cancelled by `Live.kill`, which becomes the outcome, or by `Live.defer`, which leaves it pending.
        """
        seen = Seen()
        try:
            await ticket.granted.wait()
            live.update(timings=Timings(queued_ms=_ms_since(live.accepted_at)))
            while await self._fails_by_no_fault_of_its_own(live, isolation, seen):
                live.log.cut()
                live.begun = False
                seen = Seen()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if live.kill_reason is None or task is None:
                live.done.set()
                raise
            task.uncancel()
            seen.end(live.kill_reason, KILL_MESSAGES[live.kill_reason])
        except SandboxError as error:
            logger.warning("no sandbox for the workload", workload=live.workload.id, error=error.detail)
            seen.end(error.reason, error.message)
        except Exception:
            logger.exception("workload failed in the engine", workload=live.workload.id)
            seen.end(Reason.START_FAILED, "the server made a mistake; its log says more")
        finally:
            live.settling = True
            self._admission.leave(ticket)
        await self._settle(live, isolation, decide(seen), seen.usage)

    async def _fails_by_no_fault_of_its_own(self, live: Live, isolation: Isolation, seen: Seen) -> bool:
        """Run it once. True if that failed in a way after which it asked to be begun anew."""
        live.update(attempts=live.workload.attempts + 1)
        try:
            await self._attempt(live, isolation, seen)
        except SandboxError as error:
            if not begins_anew(live.spec, live.workload.attempts, error.reason):
                raise
            logger.warning("begun anew", workload=live.workload.id, reason=error.reason, error=error.detail)
            return True
        return begins_anew(live.spec, live.workload.attempts, seen.ended_by)

    async def _attempt(self, live: Live, isolation: Isolation, seen: Seen) -> None:
        job = plan(live.workload.id, live.spec, live.archive)
        spec = SandboxSpec(
            job.runtime,
            job.resources.mem_mb,
            job.resources.disk_mb,
            network=job.network,
            image=job.image,
            cpus=job.resources.cpus,
            start=live.start,
        )
        asked_at = monotonic()
        with await self._backends[isolation].prepare(spec) or nullcontext():
            while True:
                async with self._pools.take(self._backends[isolation], spec) as (sandbox, kind):
                    await self._begin(live, isolation, kind, asked_at, sandbox)
                    try:
                        return await self._execute(live, sandbox, job, seen)
                    except StartFailed as error:
                        # It died while it waited, before user code: its place in the pool said nothing of the program.
                        if kind is not StartKind.WARM:
                            raise
                        logger.warning("a waiting sandbox was dead", sandbox=sandbox.id, error=error.detail)

    async def _begin(
        self, live: Live, isolation: Isolation, kind: StartKind, asked_at: float, sandbox: Sandbox
    ) -> None:
        live.begun = True
        start_ms = _ms_since(asked_at)
        metrics.sandbox_start_seconds.labels(isolation, kind).observe(start_ms / 1000)
        first = live.workload.status is Status.PENDING
        workload = live.update(
            status=Status.RUNNING,
            start=kind,
            machine=machine_facts(sandbox),
            node_id=self._node_id,
            started_at=datetime.now(UTC),
            timings=replace(live.workload.timings, start_ms=start_ms),
        )
        if first:
            committed = self._store.start(workload, patient=live.attached)
            if not live.attached:
                # After a crash it is run again unless it is known to have begun, so that must be on disk first.
                # An attached one is never run again: nobody waits for it any more.
                await committed
        elif not live.attached:
            # How often it was begun must be known after the next crash as well, or it would never end.
            await self._store.begin_anew(workload)
        self._changes.tell(live.tenant, workload)

    async def _execute(self, live: Live, sandbox: Sandbox, job: Job, seen: Seen) -> None:
        began_at = monotonic()
        try:
            async with asyncio.timeout(job.resources.timeout_s):
                await self._follow(live, sandbox, job, seen)
        except TimeoutError:
            seen.end(Reason.TIMEOUT, f"not finished within {job.resources.timeout_s:g} s")
        except StartFailed:
            raise
        except SandboxError as error:
            seen.end(error.reason, error.message)
        finally:
            live.update(timings=replace(live.workload.timings, exec_ms=_ms_since(began_at)))
            if seen.exited is None or seen.ended_by is not None:
                await sandbox.kill()
            seen.usage = sandbox.usage()

    async def _follow(self, live: Live, sandbox: Sandbox, job: Job, seen: Seen) -> None:
        """Read events until the end, a limit or an error. Log lines are committed beside it once there are any."""
        commits: asyncio.Task[None] | None = None
        failure: SandboxError | None = None
        budget = _Budget(job.resources)
        async with asyncio.TaskGroup() as group, aclosing(sandbox.run(job)) as events:
            try:
                async for event in events:
                    match event:
                        case Output(stream, data):
                            if commits is None:
                                commits = group.create_task(live.log.commit_as_they_come())
                            await live.log.write(stream, budget.spend(data))
                        case Raised():
                            seen.raised = seen.raised or event
                        case Exited():
                            seen.exited = event
                        case _:
                            seen.result = budget.spend(event.data)
                    if budget.overspent:
                        seen.end(Reason.OUTPUT_LIMIT, budget.message)
                        break
            except SandboxError as error:
                # Kept out of the group, which would wrap it.
                failure = error
            if commits is not None:
                commits.cancel()
        if failure is not None:
            raise failure

    async def _settle(self, live: Live, isolation: Isolation, outcome: Outcome, usage: Usage) -> None:
        chunk = await live.log.rest()
        total_ms = _ms_since(live.accepted_at)
        workload = replace(
            live.workload,
            status=outcome.status,
            output=Raw(outcome.output),
            exit_code=outcome.exit_code,
            error=outcome.error,
            usage=usage,
            timings=replace(live.workload.timings, total_ms=total_ms),
            duration_ms=round(total_ms),
            finished_at=datetime.now(UTC),
        )
        while True:
            try:
                await self._store.finish(workload, chunk)
                break
            except StoreError as error:
                # Whoever waits is told; the result itself is kept until it can be stored.
                live.failure = error
                live.done.set()
                logger.error("a result could not be stored, trying again", workload=workload.id, error=error.detail)
                await asyncio.sleep(STORE_RETRY_S)
        if chunk is not None:
            live.log.mark_committed(chunk)
        # Shown only now: nobody is told of a result that is not on disk.
        live.workload, live.failure = workload, None
        live.log.close()
        live.done.set()
        self._changes.tell(live.tenant, workload)
        _observe(live, isolation, outcome)


class _Budget:
    """Counts what a program puts out, over both streams and its result, against `max_output_bytes`."""

    def __init__(self, resources: Resources) -> None:
        self._limit = resources.max_output_bytes
        self._left = resources.max_output_bytes
        self.overspent = False

    def spend(self, data: bytes) -> bytes:
        """The part of `data` that is within the limit."""
        if len(data) > self._left:
            self.overspent = True
            data = data[: self._left]
        self._left -= len(data)
        return data

    @property
    def message(self) -> str:
        """What to tell the user."""
        return f"more output than `resources.max_output_bytes` allows ({self._limit} bytes)"


def _ms_since(instant: float) -> float:
    return round((monotonic() - instant) * 1000, 3)


def _observe(live: Live, isolation: Isolation, outcome: Outcome) -> None:
    workload, timings = live.workload, live.workload.timings
    reason = outcome.error.reason if outcome.error else "none"
    metrics.workloads_finished.labels(isolation, outcome.status, reason).inc()
    if timings.queued_ms is not None:
        metrics.workload_queued_seconds.observe(timings.queued_ms / 1000)
    if timings.exec_ms is not None:
        metrics.workload_run_seconds.labels(isolation).observe(timings.exec_ms / 1000)
    if workload.start is not None and timings.total_ms is not None:
        metrics.workload_total_seconds.labels(isolation, workload.start).observe(timings.total_ms / 1000)
