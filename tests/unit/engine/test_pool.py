"""Pools: a sandbox goes to whoever waits longest, never twice, and none is left over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.engine import pool
from caisson.engine.pool import Pools, PoolState, boots_wanted, most_boots
from caisson.errors import StartFailed, Unavailable
from caisson.model import Isolation, Runtime, StartKind
from caisson.sandbox.contract import Capabilities, SandboxSpec
from tests.plugins.noop.caisson_noop import NoopSandbox

SPEC = SandboxSpec(Runtime.NODE, mem_mb=64, disk_mb=64)


@dataclass
class Boots:
    """A backend whose boots, and whose teardowns, succeed or fail in the order given, and which counts them."""

    failures: list[Exception] = field(default_factory=list)
    bad_ends: list[Exception] = field(default_factory=list)
    delay_s: float = 0
    isolation: Isolation = Isolation.ISOLATE
    name: str = "boots"
    begun: int = 0
    open: int = 0

    async def probe(self) -> Capabilities:
        return Capabilities(self.isolation, True)

    def pool_spec(self, spec: SandboxSpec) -> SandboxSpec:
        return replace(spec, disk_mb=64)

    def warm(self) -> Mapping[SandboxSpec, int]:
        return {SPEC: 1}

    async def prepare(self, spec: SandboxSpec) -> None:
        pass

    async def reclaim(self) -> int:
        return 0

    @asynccontextmanager
    async def boot(self, spec: SandboxSpec) -> AsyncIterator[NoopSandbox]:
        self.begun += 1
        if self.failures:
            raise self.failures.pop(0)
        self.open += 1
        try:
            await asyncio.sleep(self.delay_s)
            yield NoopSandbox(spec)
        finally:
            self.open -= 1
            if self.bad_ends:
                raise self.bad_ends.pop(0)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 4))
def test_boots_serve_those_who_wait_and_the_target_within_the_parallel_limit(
    target: int, ready: int, starting: int, takers: int, parallel: int
) -> None:
    boots = boots_wanted(PoolState(target, ready, starting, takers), parallel)
    assert boots >= 0
    assert boots == 0 or starting + boots <= parallel
    assert boots == 0 or ready + starting + boots <= target + takers
    if takers and not starting and not ready:
        assert boots > 0


async def until(counter: str, boots: Boots, value: int) -> None:
    await eventually(lambda: getattr(boots, counter) == value, f"{counter} to be {value}")


async def eventually(condition: Callable[[], bool], what: str) -> None:
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"waited in vain for {what}")


def test_a_waiting_sandbox_is_warm_and_is_replaced() -> None:
    async def scenario() -> None:
        boots = Boots()
        async with Pools(5).open() as pools:
            pools.keep_warm(boots, SPEC, 2)
            await until("open", boots, 2)
            async with pools.take(boots, SPEC) as (first, kind):
                assert kind is StartKind.WARM
                await until("open", boots, 3)
                async with pools.take(boots, SPEC) as (second, _):
                    assert first is not second
            await until("open", boots, 2)
        assert boots.open == 0

    asyncio.run(scenario())


def test_one_pool_serves_every_request_that_its_backend_sends_there() -> None:
    async def scenario() -> None:
        boots = Boots()
        async with Pools(5).open() as pools:
            pools.keep_warm(boots, SPEC, 1)
            await until("open", boots, 1)
            async with pools.take(boots, replace(SPEC, disk_mb=999)) as (sandbox, kind):
                assert (kind, sandbox.spec) == (StartKind.WARM, SPEC)
            async with pools.take(boots, replace(SPEC, mem_mb=999)) as (sandbox, kind):
                assert (kind, sandbox.spec.mem_mb) == (StartKind.COLD, 999)

    asyncio.run(scenario())


def test_a_burst_boots_no_more_sandboxes_than_it_needs() -> None:
    async def scenario() -> None:
        boots = Boots(delay_s=0.002)

        async def use(pools: Pools) -> None:
            async with pools.take(boots, SPEC) as (_, kind):
                assert kind is StartKind.COLD

        async with Pools(5).open() as pools, asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(use(pools))
        assert (boots.begun, boots.open) == (20, 0)

    asyncio.run(scenario())


def test_a_start_that_fails_once_is_tried_again() -> None:
    async def scenario() -> None:
        boots = Boots([StartFailed("bad luck")])
        async with Pools(5).open() as pools, pools.take(boots, SPEC):
            assert boots.begun == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("failures", "begun"),
    [
        ([StartFailed("a"), StartFailed("b")], 2),
        ([Unavailable("never")], 1),
        ([OSError("no more descriptors"), RuntimeError("can't start new thread")], 2),
    ],
)
def test_a_start_that_keeps_failing_is_told(
    failures: list[Exception], begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BACKOFF_S", (0.0,))

    async def scenario() -> None:
        boots = Boots(failures)
        async with Pools(5).open() as pools:
            with pytest.raises(StartFailed):
                async with pools.take(boots, SPEC):
                    pass
        assert boots.begun == begun

    asyncio.run(scenario())


async def take_in_vain(pools: Pools, boots: Boots) -> None:
    with pytest.raises(StartFailed):
        async with pools.take(boots, SPEC):
            pass


def test_where_no_boot_succeeds_many_are_told_soon_and_a_success_fills_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "BACKOFF_S", (0.0, 0.0, 0.0, 600.0))
    monkeypatch.setattr(pool, "BACKOFF_WAITED_FOR_S", 0.01)

    async def scenario() -> None:
        boots = Boots([StartFailed("no more") for _ in range(10_000)])
        async with asyncio.timeout(60), Pools(5).open() as pools:
            pools.keep_warm(boots, SPEC, 2)
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(take_in_vain(pools, boots))
            assert boots.begun < 100, "one boot tells many that it failed"
            boots.failures.clear()
            async with pools.take(boots, SPEC):
                # Those that would have paused for minutes do not.
                await eventually(lambda: fill(pools) == (2, 2, 0), "the pool to be full")

    asyncio.run(scenario())


def test_closing_does_not_wait_for_a_pause_after_failed_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BACKOFF_S", (0.0, 600.0))

    async def scenario() -> None:
        boots = Boots([StartFailed("no more")])
        async with asyncio.timeout(60):
            async with Pools(5).open() as pools:
                pools.keep_warm(boots, SPEC, 1)
                await eventually(lambda: boots.begun == 1 and fill(pools) == (1, 0, 1), "a boot to be held back")
            assert boots.begun == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "failure",
    [
        StartFailed("a"),
        TimeoutError(),
        OSError("a"),
        ExceptionGroup("clean-up failed", [OSError("a"), StartFailed("b")]),
    ],
)
def test_one_that_cannot_be_torn_down_ends_no_other(failure: Exception) -> None:
    async def scenario() -> None:
        boots = Boots(bad_ends=[failure])
        async with Pools(5).open() as pools:
            async with pools.take(boots, SPEC):
                async with pools.take(boots, SPEC):
                    pass
                await until("open", boots, 1)
                assert not boots.bad_ends
            async with pools.take(boots, SPEC):
                assert boots.begun == 3

    asyncio.run(scenario())


def test_one_that_is_not_ready_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BACKOFF_S", (0.0,))

    async def scenario() -> None:
        boots = Boots(delay_s=60)
        async with Pools(0.01).open() as pools:
            with pytest.raises(StartFailed, match="not ready within"):
                async with pools.take(boots, SPEC):
                    pass
        assert boots.open == 0

    asyncio.run(scenario())


def test_a_taker_that_goes_away_leaves_no_sandbox_behind() -> None:
    async def scenario() -> None:
        boots = Boots(delay_s=0.01)

        async def use(pools: Pools) -> None:
            async with pools.take(boots, SPEC):
                await asyncio.Event().wait()

        async with Pools(5).open() as pools:
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(use(pools))
                await until("begun", boots, 1)
                waiting.cancel()
            await until("open", boots, 0)
        assert boots.begun == 1

    asyncio.run(scenario())


def test_closing_the_pools_ends_boots_under_way() -> None:
    async def scenario() -> None:
        boots = Boots(delay_s=0.01)
        async with Pools(5).open() as pools:
            pools.keep_warm(boots, SPEC, 2 * most_boots())
            await until("begun", boots, most_boots())
        assert boots.open == 0

    asyncio.run(scenario())


def fill(pools: Pools) -> tuple[int, int, int]:
    (view,) = pools.views()[Isolation.ISOLATE]
    return view.target, view.ready, view.starting


async def use_at_once(pools: Pools, boots: Boots, count: int) -> list[StartKind]:
    """So many at once, each holding its own until all have one."""
    have, kinds = asyncio.Barrier(count), []

    async def use() -> None:
        async with pools.take(boots, SPEC) as (_, kind):
            kinds.append(kind)
            await have.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(use())
    return kinds


def test_a_burst_of_ten_times_the_size_is_served_and_the_next_one_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TEND_EVERY_S", 0.01)

    async def scenario() -> None:
        boots = Boots(delay_s=0.001)
        async with Pools(5, growth=4, budget_mb=1_000).open() as pools:
            pools.keep_warm(boots, SPEC, 2)
            await eventually(lambda: fill(pools) == (2, 2, 0), "the pool to be full")
            assert (await use_at_once(pools, boots, 20)).count(StartKind.WARM) == 2
            await eventually(lambda: fill(pools) == (8, 8, 0), "a pool that is larger, and full")
            assert (await use_at_once(pools, boots, 20)).count(StartKind.WARM) == 8
            await eventually(lambda: fill(pools) == (8, 8, 0), "the pool to be full again")
            # Long after, nobody having come again.
            now_s = time.monotonic()
            monkeypatch.setattr(pool, "monotonic", lambda: now_s + 61)
            await eventually(lambda: fill(pools) == (2, 2, 0), "the pool to be small again")
            await until("open", boots, 2)

    asyncio.run(scenario())


def test_what_waits_is_within_the_budget() -> None:
    async def scenario() -> None:
        boots, others = Boots(), Boots(isolation=Isolation.GVISOR)
        budget_mb = 3 * pool.WAITING_MB[Isolation.ISOLATE] + pool.WAITING_MB[Isolation.GVISOR]
        async with Pools(5, budget_mb=budget_mb).open() as pools:
            pools.keep_warm(boots, SPEC, 9)
            pools.keep_warm(others, SPEC, 9)
            await until("open", boots, 3)
            await until("open", others, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["sick", "raises", "old"])
def test_one_that_is_sick_or_old_is_replaced(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TEND_EVERY_S", 0.01)
    monkeypatch.setattr(pool, "PING_EVERY_S", 0)

    async def scenario() -> None:
        boots = Boots()
        async with Pools(5, age_s=0.05 if fault == "old" else 3_600).open() as pools:
            pools.keep_warm(boots, SPEC, 1)
            await until("open", boots, 1)
            if fault != "old":
                async with pools.take(boots, SPEC) as (first, _):
                    pass

                async def ping(self: NoopSandbox, timeout_s: float) -> bool:
                    if fault == "raises":
                        raise OSError("no connection")
                    return False

                monkeypatch.setattr(type(first), "ping", ping)
            begun = boots.begun
            await eventually(lambda: boots.begun >= begun + 2, "it to be replaced, and that one too")
            await eventually(lambda: boots.open <= 2, "those that were given up to be gone")

    asyncio.run(scenario())


def test_closing_while_one_is_asked_how_it_is_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TEND_EVERY_S", 0.001)
    monkeypatch.setattr(pool, "PING_EVERY_S", 0)

    async def scenario() -> None:
        boots, asked = Boots(), asyncio.Event()

        async def ping(self: NoopSandbox, timeout_s: float) -> bool:
            asked.set()
            await asyncio.Event().wait()
            return True

        monkeypatch.setattr(NoopSandbox, "ping", ping)
        async with Pools(5).open() as pools:
            pools.keep_warm(boots, SPEC, 1)
            await asked.wait()
        assert boots.open == 0

    asyncio.run(scenario())


def test_while_workloads_need_the_processors_the_target_is_filled_one_by_one() -> None:
    assert boots_wanted(PoolState(8, 0, 0, 0, busy=True), 4) == 1
    assert boots_wanted(PoolState(8, 0, 1, 0, busy=True), 4) == 0
    assert boots_wanted(PoolState(8, 0, 1, 3, busy=True), 4) == 2
    assert boots_wanted(PoolState(8, 0, 0, 0), 4) == 4
