"""Carries out one step of a benchmark: its runs, and the measures they make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic, perf_counter

from caisson.benchmark import UNITS, BenchmarkResult, Measure
from caisson.compare.bare import NoProcess, prepared
from caisson.compare.figures import spread
from caisson.compare.suite import ROUNDS, Phase, Step, on
from caisson.engine.engine import Engine
from caisson.engine.intake import Submission
from caisson.errors import CaissonError, Refusal, Refused
from caisson.model import Isolation, Reason, Runtime, StartKind, Status, Workload

STEP_LIMIT_S = 30.0
"""A step begins no further run after this long: of something slow, fewer samples do."""
REFILL_LIMIT_S = 10.0
"""Longest to wait between two runs for a sandbox to wait again."""
REFILL_LOOK_S = 0.02
BUSY_TRIES = 5
_DIGITS = 3
_WISHES = {Phase.COLD: StartKind.COLD, Phase.RESTORED: StartKind.RESTORED}


class Stopped(CaissonError):
    """The server is being shut down."""


class NotMeasured(CaissonError):
    """This step has no figures; the message says why."""


@dataclass(slots=True)
class Bench:
    """One benchmark at work. `ran` is called after each run."""

    id: str
    tenant: str
    engine: Engine
    clients: int
    ran: Callable[[], None]
    processes: dict[tuple[str, Runtime], float] = field(default_factory=dict)
    """The median round trip of each program as a process, in milliseconds."""
    seq: int = 0

    async def measure(self, step: Step) -> list[BenchmarkResult]:
        """Carry out a step. Raises Stopped."""
        samples: Mapping[Measure, Sequence[float]] = {}
        notes: dict[Measure, str] = {}
        try:
            match step.phase:
                case Phase.PROCESS:
                    samples = {Measure.ROUND_TRIP: await self._as_process(step)}
                case Phase.THROUGHPUT:
                    samples = {Measure.THROUGHPUT: await self._throughput(step)}
                case Phase.COLD | Phase.RESTORED:
                    samples = {step.measures[0]: await self._starts(step, _WISHES[step.phase])}
                case Phase.FASTEST:
                    samples, notes = await self._fastest(step)
        except (NotMeasured, NoProcess) as error:
            notes = dict.fromkeys(step.measures, error.message)
        return [self._result(step, measure, samples.get(measure, ()), notes.get(measure)) for measure in step.measures]

    def _result(self, step: Step, measure: Measure, samples: Sequence[float], note: str | None) -> BenchmarkResult:
        result = BenchmarkResult(
            seq=self.seq,
            program=step.program.name,
            runtime=step.program.spec.runtime,
            subject=step.subject,
            measure=measure,
            unit=UNITS[measure],
            samples=[round(sample, _DIGITS) for sample in samples],
            spread=spread([round(sample, _DIGITS) for sample in samples]),
            note=note,
        )
        self.seq += 1
        return result

    async def _as_process(self, step: Step) -> list[float]:
        samples: list[float] = []
        deadline = monotonic() + STEP_LIMIT_S
        try:
            async with prepared(step.program) as bare:
                await bare.run()  # the first one reads the interpreter from disk
                while len(samples) < step.runs and (not samples or monotonic() < deadline):
                    samples.append(await bare.run())
                    self.ran()
        except NoProcess:
            raise
        except CaissonError as error:
            raise NotMeasured(f"as a process it failed: {error.message}") from error
        self.processes[step.program.key] = median(samples)
        return samples

    async def _starts(self, step: Step, wish: StartKind) -> list[float]:
        samples: list[float] = []
        deadline = monotonic() + STEP_LIMIT_S
        while len(samples) < step.runs and (not samples or monotonic() < deadline):
            workload = await self._run(step, wish)
            self.ran()
            if workload.start is not wish:
                raise NotMeasured(f"{step.subject} has no sandbox of this kind that is {_SAID[wish]}")
            samples.append(workload.timings.start_ms or 0.0)
        return samples

    async def _fastest(self, step: Step) -> tuple[dict[Measure, list[float]], dict[Measure, str]]:
        ran: list[Workload] = []
        deadline = monotonic() + STEP_LIMIT_S
        while len(ran) < step.runs and (not ran or monotonic() < deadline):
            await self._refilled(step)
            ran.append(await self._run(step, None))
            self.ran()
        kind = _fastest_kind(ran)
        alike = [workload for workload in ran if workload.start is kind]
        round_trips = [workload.timings.total_ms or 0.0 for workload in alike]
        samples = {
            Measure.EXECUTION: [workload.timings.exec_ms or 0.0 for workload in alike],
            Measure.ROUND_TRIP: round_trips,
            Measure.MEMORY: [w.usage.peak_mem_mb for w in alike if w.usage.peak_mem_mb is not None],
        }
        notes = {}
        if kind is StartKind.WARM:
            samples[Measure.WARM_START] = [workload.timings.start_ms or 0.0 for workload in alike]
        else:
            notes[Measure.WARM_START] = "no sandbox of this kind is kept waiting here"
            notes |= dict.fromkeys((Measure.EXECUTION, Measure.ROUND_TRIP), f"in sandboxes that were {_SAID[kind]}")
        if not samples[Measure.MEMORY]:
            notes[Measure.MEMORY] = "this host cannot measure the memory of a sandbox"
        if process_ms := self.processes.get(step.program.key):
            samples[Measure.OVERHEAD] = [round_trip / process_ms for round_trip in round_trips]
        else:
            notes[Measure.OVERHEAD] = "there is no process to compare it with"
        return samples, notes

    async def _throughput(self, step: Step) -> list[float]:
        rates: list[float] = []
        deadline = monotonic() + STEP_LIMIT_S
        for _ in range(ROUNDS):
            if rates and monotonic() > deadline:
                break
            await self._refilled(step)
            rates.append(await self._round(step, step.runs // ROUNDS, deadline))
        return rates

    async def _round(self, step: Step, count: int, deadline: float) -> float:
        left = iter(range(count))
        done = 0
        failure: CaissonError | None = None

        async def client() -> None:
            nonlocal done, failure
            for _ in left:
                if failure is not None or (done and monotonic() > deadline):
                    return
                try:
                    await self._run(step, None)
                except CaissonError as error:
                    # Kept out of the group, which would wrap it.
                    failure = error
                    return
                done += 1
                self.ran()

        began_at = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(client())
        if failure is not None:
            raise failure
        return done / (perf_counter() - began_at)

    async def _run(self, step: Step, wish: StartKind | None) -> Workload:
        """One run to its end. Raises NotMeasured if it does not complete, Stopped."""
        spec = on(step.program.spec, Isolation(step.subject.value), self.id)
        for attempt in range(1, BUSY_TRIES + 1):
            try:
                workload = await self.engine.run(Submission(spec, self.tenant, start=wish))
            except Refused as refused:
                if refused.reason is Refusal.SHUTTING_DOWN:
                    raise Stopped("the server was shut down") from refused
                if refused.retry_after_s is None or attempt == BUSY_TRIES:
                    raise NotMeasured(f"refused: {refused.message}") from refused
                await asyncio.sleep(refused.retry_after_s)
            else:
                break
        if workload.error is not None and workload.error.reason is Reason.SHUTDOWN:
            raise Stopped("the server was shut down")
        if workload.status is not Status.COMPLETED:
            why = f"{workload.error.reason}: {workload.error.message}" if workload.error else workload.status
            raise NotMeasured(f"workload {workload.id} did not complete: {why}")
        return workload

    async def _refilled(self, step: Step) -> None:
        """Return when a sandbox of this kind waits, if any is kept waiting at all, or after a while."""
        deadline = monotonic() + REFILL_LIMIT_S
        while monotonic() < deadline:
            views = [view for view in await self.engine.backends() if view.isolation.value == step.subject.value]
            pools = [pool for view in views for pool in view.pool if pool.runtime is step.program.spec.runtime]
            if all(pool.ready == pool.target and not pool.starting for pool in pools):
                return
            await asyncio.sleep(REFILL_LOOK_S)


_SAID = {StartKind.COLD: "booted", StartKind.RESTORED: "restored from a snapshot", StartKind.WARM: "waiting"}


def _fastest_kind(ran: Sequence[Workload]) -> StartKind:
    kinds = {workload.start for workload in ran}
    return next(kind for kind in StartKind if kind in kinds)
