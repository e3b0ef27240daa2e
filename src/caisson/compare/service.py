"""Benchmarks: one at a time, stored as they go on, followed by anyone who may see them."""

from __future__ import annotations

import asyncio
import builtins
import re
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import structlog
from msgspec.structs import replace

from caisson.benchmark import (
    Benchmark,
    BenchmarkHead,
    BenchmarkPage,
    BenchmarkProgress,
    BenchmarkRequest,
    BenchmarkResult,
    BenchmarkStatus,
)
from caisson.compare.measuring import Bench, Stopped
from caisson.compare.suite import Step, chosen, on, programs, steps
from caisson.engine.engine import Engine
from caisson.engine.ids import IdMaker
from caisson.errors import CaissonError, Refusal, Refused
from caisson.host.facts import host_facts
from caisson.model import Isolation, WorkloadSpec
from caisson.sandbox.contract import Capabilities
from caisson.store.store import Store

logger = structlog.get_logger(__name__)

INTERRUPTED = "the server ended while it ran"
Event = BenchmarkResult | BenchmarkProgress | BenchmarkHead


@dataclass(slots=True, eq=False)
class _Run:
    """The benchmark that runs now. `changed` is replaced at each change."""

    head: BenchmarkHead
    tenant: str
    results: list[BenchmarkResult] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    cancelled: bool = False

    def tell(self) -> None:
        """Wake whoever follows."""
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def whole(self) -> Benchmark:
        """It as it is."""
        return _whole(self.head, self.results)


class Benchmarks:
    """Starts, tells of and ends benchmarks. Usable between entering and leaving `open`."""

    def __init__(self, engine: Engine, store: Store, node_id: str) -> None:
        self._engine = engine
        self._store = store
        self._node_id = node_id
        self._new_id = IdMaker()
        self._run: _Run | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Benchmarks]:
        """Settle what a former server of this node left unfinished, and serve until left; what runs is then ended."""
        await self._store.benchmarks_interrupted(self._node_id, INTERRUPTED, datetime.now(UTC))
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield self
            finally:
                self._tasks = None
                if self._run is not None and self._run.task is not None:
                    self._run.task.cancel()

    async def start(self, request: BenchmarkRequest, tenant: str) -> Benchmark:
        """Begin one. Raises Refused: 409 while another one runs, 422 for what cannot be measured here."""
        if self._tasks is None:
            raise Refused(503, Refusal.SHUTTING_DOWN, "the server is shutting down", retry_after_s=5)
        capabilities = self._engine.capabilities
        isolations = chosen(request, capabilities)
        _check(request, capabilities)
        if request.workload is not None:
            self._check_workload(request.workload, isolations, tenant)
        if self._run is not None:
            raise Refused(
                409, Refusal.CONFLICT, "a benchmark runs already; two at a time would measure each other", member=None
            )
        found = {runtime for name in isolations for runtime in capabilities[name].runtimes}
        todo = list(steps(request, programs(request, found), capabilities))
        if not todo:
            message = "no isolation that is available here runs any of these programs"
            member = "runtimes" if request.workload is None else "workload.runtime"
            raise Refused(422, Refusal.UNSUPPORTED, message, member=member)
        head = BenchmarkHead(
            id=self._new_id(),
            status=BenchmarkStatus.RUNNING,
            request=request,
            command=command_of(request),
            progress=BenchmarkProgress(done=0, total=sum(step.runs for step in todo)),
            error=None,
            node_id=self._node_id,
            host={**await asyncio.to_thread(host_facts), "isolations": ", ".join(isolations)},
            created_at=datetime.now(UTC),
            finished_at=None,
        )
        run = self._run = _Run(head, tenant)
        try:
            await self._store.create_benchmark(head, tenant)
        except BaseException:
            self._run = None
            raise
        run.task = self._tasks.create_task(self._carry_out(run, todo), name=f"benchmark {head.id}")
        return run.whole

    async def get(self, benchmark_id: str, tenant: str) -> Benchmark:
        """One with its results so far. Raises Refused (404)."""
        if run := self._running(benchmark_id, tenant):
            return run.whole
        found = await self._store.get_benchmark(benchmark_id, tenant)
        if found is None:
            raise Refused(404, Refusal.NOT_FOUND, f"there is no benchmark {benchmark_id}", member="id")
        return found

    async def list(self, tenant: str, limit: int, cursor: str | None) -> BenchmarkPage:
        """A page of them, newest first. Raises Refused (422) for a bad cursor."""
        page = await self._store.list_benchmarks(tenant, limit, cursor)
        heads = [run.head if (run := self._running(head.id, tenant)) else head for head in page.benchmarks]
        return replace(page, benchmarks=heads)

    async def cancel(self, benchmark_id: str, tenant: str) -> Benchmark:
        """End one; returns when its last workload is verified dead. Raises Refused (404, 409 if it is over)."""
        run = self._running(benchmark_id, tenant)
        if run is None or run.task is None:
            found = await self.get(benchmark_id, tenant)
            raise Refused(409, Refusal.CONFLICT, f"benchmark {found.id} is already {found.status}", member="id")
        run.cancelled = True
        run.task.cancel()
        await asyncio.wait([run.task])
        return run.whole

    async def follow(self, benchmark_id: str, tenant: str, after: int) -> AsyncGenerator[Sequence[Event]]:
        """Results with a number above `after` and the progress between them, then the head of what is over.

        Raises Refused (404) at the first step.
        """
        run = self._running(benchmark_id, tenant)
        if run is None:
            whole = await self.get(benchmark_id, tenant)
            yield whole.results[after + 1 :]
            yield [whole]
            return
        told: BenchmarkProgress | None = None
        while True:
            changed = run.changed
            events: builtins.list[Event] = [*run.results[after + 1 :]]
            after = max(after, len(run.results) - 1)
            if run.head.progress is not told:
                told = run.head.progress
                events.append(told)
            if run.head.status is not BenchmarkStatus.RUNNING:
                yield [*events, run.head]
                return
            if events:
                yield events
            await changed.wait()

    def _check_workload(self, spec: WorkloadSpec, isolations: Sequence[Isolation], tenant: str) -> None:
        """Raise Refused if not even one isolation could run it."""
        refusals: builtins.list[Refused] = []
        for isolation in isolations:
            try:
                return self._engine.check(on(spec, isolation, ""), tenant)
            except Refused as refused:
                refusals.append(refused)
        if refusals:
            first = refusals[0]
            member = first.member or "workload"
            if re.split(r"[.[]", member)[0] in WorkloadSpec.__struct_fields__:
                member = f"workload.{member}"
            raise Refused(first.status, first.reason, first.message, member=member, retry_after_s=first.retry_after_s)

    def _running(self, benchmark_id: str, tenant: str) -> _Run | None:
        run = self._run
        return run if run is not None and run.head.id == benchmark_id and run.tenant == tenant else None

    async def _carry_out(self, run: _Run, todo: Sequence[Step]) -> None:
        structlog.contextvars.bind_contextvars(benchmark=run.head.id, tenant=run.tenant)
        status, error = BenchmarkStatus.COMPLETED, None
        try:
            await self._measure(run, todo)
            if not any(result.samples for result in run.results):
                first = next((result.note for result in run.results if result.note), None)
                status, error = BenchmarkStatus.FAILED, f"nothing could be measured: {first}"
        except asyncio.CancelledError:
            status, error = BenchmarkStatus.CANCELLED, None if run.cancelled else "the server was shut down"
        except Stopped as stopped:
            status, error = BenchmarkStatus.CANCELLED, stopped.message
        except CaissonError as failure:
            status, error = BenchmarkStatus.FAILED, failure.message
            logger.error("benchmark failed", error=failure.detail)
        except Exception:
            # Ended on request all the same, if that is what it stumbled over.
            status, error = BenchmarkStatus.FAILED, "the server made a mistake; its log says more"
            if run.cancelled:
                status, error = BenchmarkStatus.CANCELLED, None
            logger.exception("benchmark failed in the server")
        progress = replace(run.head.progress, program=None, runtime=None, subject=None, measure=None)
        if status is BenchmarkStatus.COMPLETED:
            progress = replace(progress, done=progress.total)
        head = replace(run.head, status=status, error=error, progress=progress, finished_at=datetime.now(UTC))
        with suppress(CaissonError):  # the writer has logged it; the next start finds it unfinished
            await self._store.save_benchmark(head, run.results)
        run.head = head
        if self._run is run:
            self._run = None
        run.tell()

    async def _measure(self, run: _Run, todo: Sequence[Step]) -> None:
        done = 0

        def ran() -> None:
            run.head = replace(run.head, progress=replace(run.head.progress, done=run.head.progress.done + 1))
            run.tell()

        bench = Bench(run.head.id, run.tenant, self._engine, run.head.request.clients, ran)
        for step in todo:
            spec = step.program.spec
            run.head = replace(
                run.head,
                progress=replace(
                    run.head.progress,
                    done=done,
                    program=step.program.name,
                    runtime=spec.runtime,
                    subject=step.subject,
                    measure=step.measures[0],
                ),
            )
            run.tell()
            results = [*run.results, *await bench.measure(step)]
            done += step.runs
            await self._store.save_benchmark(run.head, results)
            # Shown only now: what somebody has seen is still there after a crash.
            run.results = results
            run.tell()


def command_of(request: BenchmarkRequest) -> str:
    """The command that measures the same again, ready to be pasted."""
    if request.workload is not None:
        return f"caisson bench --request {shlex.quote(msgspec.json.encode(request).decode())}"
    words = ["caisson", "bench"]
    words += [f"--isolation {name}" for name in request.isolations or ()]
    words += [f"--runtime {name}" for name in request.runtimes or ()]
    return " ".join([*words, f"--runs {request.runs}", f"--clients {request.clients}"])


def _check(request: BenchmarkRequest, capabilities: Mapping[Isolation, Capabilities]) -> None:
    for isolation in request.isolations or ():
        found = capabilities.get(isolation)
        if found is None or not found.available:
            why = (found.reason if found else None) or "its backend is not loaded"
            raise Refused(422, Refusal.UNSUPPORTED, f"{isolation} is not available here: {why}", member="isolations")


def _whole(head: BenchmarkHead, results: Sequence[BenchmarkResult]) -> Benchmark:
    members = {name: getattr(head, name) for name in BenchmarkHead.__struct_fields__}
    return Benchmark(**members, results=list(results))
