"""The built-in programs, and in which order what is measured of them: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from caisson.benchmark import BenchmarkRequest, Measure, Subject
from caisson.model import Isolation, IsolationChoice, Runtime, WorkloadSpec
from caisson.sandbox.contract import Capabilities

HELLO, COMPUTE, OWN = "hello", "compute", "workload"
ROUNDS = 3
"""Samples of `throughput`."""
RUNS_PER_CLIENT = 4
"""Workloads that each client gets done in a round."""
SLOW = frozenset({Runtime.GO})
"""Runtimes that compile at each run: of these the suite has one program only."""


class Phase(StrEnum):
    """A row of runs of one kind, from which one or more measures are made."""

    PROCESS = "process"
    COLD = "cold"
    RESTORED = "restored"
    FASTEST = "fastest"
    THROUGHPUT = "throughput"


MEASURES: dict[Phase, tuple[Measure, ...]] = {
    Phase.PROCESS: (Measure.ROUND_TRIP,),
    Phase.COLD: (Measure.COLD_START,),
    Phase.RESTORED: (Measure.RESTORED_START,),
    Phase.FASTEST: (
        Measure.WARM_START,
        Measure.EXECUTION,
        Measure.ROUND_TRIP,
        Measure.OVERHEAD,
        Measure.MEMORY,
    ),
    Phase.THROUGHPUT: (Measure.THROUGHPUT,),
}
"""What each phase tells; the first is what its progress is shown under."""


@dataclass(frozen=True, slots=True)
class Program:
    """Something to run everywhere. `trusted` programs are ours, and may also run as a process of the host."""

    name: str
    spec: WorkloadSpec
    trusted: bool = False

    @property
    def key(self) -> tuple[str, Runtime]:
        """What tells it from the others of its benchmark."""
        return self.name, self.spec.runtime


@dataclass(frozen=True, slots=True)
class Step:
    """One phase of one program on one subject, with as many runs."""

    program: Program
    subject: Subject
    phase: Phase
    runs: int

    @property
    def measures(self) -> Sequence[Measure]:
        """What it tells. Where the program takes its time, neither its start nor its throughput is of interest."""
        told = MEASURES[self.phase]
        return told if self.program.name != COMPUTE else [m for m in told if m is not Measure.WARM_START]


_CODE: dict[Runtime, dict[str, str]] = {
    Runtime.PYTHON: {
        HELLO: "print('hello')\n",
        COMPUTE: "x = 0\nfor _ in range(500_000):\n    x = (x * 1103515245 + 12345) & 0x7FFFFFFF\nprint(x)\n",
    },
    Runtime.NODE: {
        HELLO: "console.log('hello');\n",
        COMPUTE: "let x = 0;\nfor (let n = 0; n < 20_000_000; n++) x = (Math.imul(x, 1103515245) + 12345) | 0;\n"
        "console.log(x);\n",
    },
    Runtime.BASH: {
        HELLO: "echo hello\n",
        COMPUTE: "x=0\nfor ((n = 0; n < 50000; n++)); do x=$(((x * 1103515245 + 12345) & 0x7fffffff)); done\necho $x\n",
    },
    Runtime.GO: {HELLO: 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n'},
    # Base64 of modules that export `_start`: an empty one, and the loop of the others 20,000,000 times.
    Runtime.WASM: {
        HELLO: "AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBAECAAs=",
        COMPUTE: "AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKMgEwAQJ/QYDaxAkhAQNAIABB7ZyZjgRsQbngAG"
        "ohACABQQFrIQEgAQ0AC0EAIAA2AgALABwEbmFtZQIJAQACAAF4AQFuAwoBAAEABWFnYWlu",
    },
}


def programs(request: BenchmarkRequest, runtimes: Collection[Runtime]) -> list[Program]:
    """What a request wants to be run, of the suite only what one of `runtimes` is needed for."""
    if request.workload is not None:
        return [Program(OWN, request.workload)]
    wanted = [runtime for runtime in _CODE if runtime in runtimes and runtime in (request.runtimes or _CODE)]
    return [
        Program(name, WorkloadSpec(runtime=runtime, code=code), trusted=True)
        for runtime in wanted
        for name, code in _CODE[runtime].items()
    ]


def steps(
    request: BenchmarkRequest, programs: Sequence[Program], capabilities: Mapping[Isolation, Capabilities]
) -> Iterator[Step]:
    """All that is to be done, in order: one program after the other, the process first, which others refer to."""
    for program in programs:
        runs = request.runs
        if program.trusted:
            yield Step(program, Subject.PROCESS, Phase.PROCESS, runs)
        for isolation in chosen(request, capabilities):
            if program.spec.runtime not in capabilities[isolation].runtimes:
                continue
            subject = Subject(isolation.value)
            if program.name != COMPUTE:
                yield Step(program, subject, Phase.COLD, runs)
                yield Step(program, subject, Phase.RESTORED, runs)
            yield Step(program, subject, Phase.FASTEST, runs)
            if program.name != COMPUTE:
                yield Step(program, subject, Phase.THROUGHPUT, ROUNDS * RUNS_PER_CLIENT * request.clients)


def chosen(request: BenchmarkRequest, capabilities: Mapping[Isolation, Capabilities]) -> list[Isolation]:
    """The isolations to compare, in the order of the model."""
    wanted = request.isolations or list(Isolation)
    return [name for name in Isolation if name in wanted and name in capabilities and capabilities[name].available]


def on(spec: WorkloadSpec, isolation: Isolation, benchmark_id: str) -> WorkloadSpec:
    """The program for one isolation, with a label to find its runs by."""
    choice = IsolationChoice(isolation.value)
    return replace(spec, isolation=choice, labels={**spec.labels, "benchmark": benchmark_id})
