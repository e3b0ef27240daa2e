"""Benchmarks in the store: kept whole, listed by tenant, settled after a crash, removed when they are old."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from caisson.benchmark import (
    BenchmarkHead,
    BenchmarkProgress,
    BenchmarkRequest,
    BenchmarkResult,
    BenchmarkStatus,
    Measure,
    Subject,
    Unit,
)
from caisson.errors import Refused
from caisson.model import Runtime, WorkloadSpec
from caisson.settings import Settings
from caisson.store.store import Store
from tests.helpers.workloads import NOON

pytestmark = pytest.mark.anyio


def benchmark(number: int, node_id: str = "here") -> BenchmarkHead:
    return BenchmarkHead(
        id=f"01KAA0000000000000000000{number:02}",
        status=BenchmarkStatus.RUNNING,
        request=BenchmarkRequest(workload=WorkloadSpec(runtime=Runtime.NODE, code="1")),
        command="caisson bench",
        progress=BenchmarkProgress(done=1, total=2, program="hello"),
        error=None,
        node_id=node_id,
        host={"CPU": "a"},
        created_at=NOON,
        finished_at=None,
    )


RESULT = BenchmarkResult(
    seq=0,
    program="hello",
    runtime=Runtime.NODE,
    subject=Subject.ISOLATE,
    measure=Measure.MEMORY,
    unit=Unit.MIB,
    samples=[1.5, 2.0],
    spread=None,
    note="nöte",
)


async def test_one_is_kept_with_its_results_and_only_for_its_tenant(store: Store) -> None:
    head = benchmark(1)
    await store.create_benchmark(head, "a")
    ended = replace(head, status=BenchmarkStatus.COMPLETED, finished_at=NOON)
    await store.save_benchmark(ended, [RESULT])
    found = await store.get_benchmark(head.id, "a")
    assert found is not None
    assert (found.status, found.results, found.request) == (ended.status, [RESULT], head.request)
    assert await store.get_benchmark(head.id, "b") is None
    assert (await store.list_benchmarks("b", 20, None)).total == 0


async def test_pages_go_through_all_of_them_newest_first(store: Store) -> None:
    for number in range(5):
        await store.create_benchmark(benchmark(number), "a")
    seen, cursor = [], None
    while True:
        page = await store.list_benchmarks("a", 2, cursor)
        assert page.total == 5
        seen += [head.id for head in page.benchmarks]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [benchmark(number).id for number in reversed(range(5))]
    with pytest.raises(Refused):
        await store.list_benchmarks("a", 2, "nonsense")


async def test_after_a_crash_only_this_nodes_unfinished_ones_are_settled(store: Store) -> None:
    for number, node_id in ((1, "here"), (2, "there")):
        await store.create_benchmark(benchmark(number, node_id), "a")
        await store.save_benchmark(benchmark(number, node_id), [RESULT])
    assert await store.benchmarks_interrupted("here", "it ended", NOON) == 1
    assert await store.benchmarks_interrupted("here", "it ended", NOON) == 0
    ours = await store.get_benchmark(benchmark(1).id, "a")
    theirs = await store.get_benchmark(benchmark(2).id, "a")
    assert ours is not None
    assert theirs is not None
    assert (ours.status, ours.error, ours.results) == (BenchmarkStatus.FAILED, "it ended", [RESULT])
    assert theirs.status is BenchmarkStatus.RUNNING


async def test_old_ones_are_swept_and_running_ones_are_not(store: Store, tmp_path: Path) -> None:
    for number in range(60):
        await store.create_benchmark(benchmark(number), "a")
        if number:
            await store.save_benchmark(replace(benchmark(number), finished_at=NOON), [RESULT])
    settings = Settings(data_dir=tmp_path, retention_days=1)
    assert (await store.sweep(settings, NOON + timedelta(hours=23))).benchmarks == 0
    assert (await store.sweep(settings, NOON + timedelta(hours=25))).benchmarks == 59
    assert [head.id for head in (await store.list_benchmarks("a", 20, None)).benchmarks] == [benchmark(0).id]
