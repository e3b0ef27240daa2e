"""Whatever is written in whatever order and grouping, the store holds what the rules allow and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from caisson.model import TRANSITIONS, LogLine, Status, Workload
from caisson.store.records import LogChunk
from caisson.store.store import IllegalTransition, Store, StoreError, open_store
from tests.helpers.workloads import accepted, chunk, ended, running

CREW = 4
"""Workloads a run deals with: few, so that its writes meet."""


@dataclass(slots=True)
class Expected:
    """What the store should hold of one workload."""

    workload: Workload
    lines: dict[int, tuple[LogLine, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One write: `insert`, `append`, or the status to move to."""

    who: int
    what: str
    variant: int = 0


steps = st.builds(
    Step,
    who=st.integers(0, CREW - 1),
    what=st.sampled_from(["insert", "append", *(status for status in Status if status is not Status.PENDING)]),
    variant=st.integers(0, 2),
)


class StoreMachine(RuleBasedStateMachine):
    """Compares the store with a dictionary that is told of one write after the other."""

    def __init__(self, new_url: Callable[[], str]) -> None:
        super().__init__()
        self.url = new_url()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.crew = [accepted() for _ in range(CREW)]
        self.expected: dict[int, Expected] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.store: Store = self.run(self.stack.enter_async_context(open_store(self.url)))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @rule()
    def reopen(self) -> None:
        self.run(self.stack.aclose())
        self.open()

    @rule(batch=st.lists(steps, min_size=1, max_size=12))
    def write(self, batch: list[Step]) -> None:
        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(self.ask(step) for step in batch), return_exceptions=True)

        outcomes = self.run(all_at_once())
        assert [type(outcome) for outcome in outcomes] == [self.expect(step) for step in batch]

    @invariant()
    def the_store_holds_what_is_expected(self) -> None:
        async def look() -> None:
            for who, new in enumerate(self.crew):
                stored = await self.store.get(new.workload.id)
                expected = self.expected.get(who)
                assert (stored.workload if stored else None) == (expected.workload if expected else None)
                parts = sorted(expected.lines.items()) if expected else []
                lines = await self.store.log_lines(new.workload.id, -1, 100, 10_000)
                assert lines == [line for _, part in parts for line in part]

        self.run(look())

    def ask(self, step: Step) -> asyncio.Future[None]:
        new = self.crew[step.who]
        match step.what:
            case "insert":
                return asyncio.ensure_future(self.store.insert(new))
            case "append":
                return asyncio.ensure_future(self.store.append(self.chunk(step)))
            case _:
                return asyncio.ensure_future(self.store.finish(self.target(step)))

    def expect(self, step: Step) -> type:
        """The outcome of a write, which is entered into what is expected."""
        expected = self.expected.get(step.who)
        if step.what == "insert":
            if expected:
                return StoreError
            self.expected[step.who] = Expected(self.crew[step.who].workload)
            return type(None)
        if step.what == "append":
            if not expected:
                return StoreError
            part = self.chunk(step)
            expected.lines[part.first_seq] = part.lines
            return type(None)
        target = self.target(step)
        if expected and (target.status in TRANSITIONS[expected.workload.status] or target == expected.workload):
            expected.workload = target
            return type(None)
        return IllegalTransition

    def target(self, step: Step) -> Workload:
        workload, status = self.crew[step.who].workload, Status(step.what)
        moved = running(workload) if status is Status.RUNNING else ended(workload, status)
        return replace(moved, exit_code=step.variant)

    def chunk(self, step: Step) -> LogChunk:
        return chunk(self.crew[step.who].workload.id, step.variant, f"line {step.variant}")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_store_keeps_to_the_transitions(
    database: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def new_url() -> str:
        if database == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('machine') / 'caisson.db'}"
        return str(request.getfixturevalue("postgres").new_database())

    machine = partial(StoreMachine, new_url)
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # a factory is allowed, the documentation says
        settings=settings(max_examples=20, stateful_step_count=10),
    )
