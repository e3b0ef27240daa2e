"""A sweep removes what is too old or too much, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from caisson.model import Status
from caisson.settings import Settings
from caisson.store import retention
from caisson.store.records import ListQuery, NewWorkload, Swept
from caisson.store.store import IdempotencyClash, Store
from tests.helpers.workloads import NOON, accepted, chunk, ended, noise, running

pytestmark = pytest.mark.anyio

SETTINGS = Settings(retention_days=10, retention_mb=1, idempotency_hours=24)
NOISE = noise(300_000)


async def add(store: Store, finished_at: datetime, *texts: str, key: str | None = None) -> NewWorkload:
    """A finished workload with a log."""
    new = accepted(idempotency=(key, "x") if key else None, labels={"a": "b"}, created_at=finished_at)
    store.insert(new)
    store.start(running(new.workload))
    await store.finish(
        ended(new.workload, finished_at=finished_at), chunk(new.workload.id, 0, *texts) if texts else None
    )
    return new


async def test_what_finished_too_long_ago_is_gone_with_all_that_belongs_to_it(store: Store) -> None:
    old = await add(store, NOON - timedelta(days=11), "line")
    young = await add(store, NOON - timedelta(days=9), "line")
    swept = await store.sweep(SETTINGS, NOON)
    assert swept.workloads == 1
    assert await store.get(old.workload.id) is None
    assert await store.log_lines(old.workload.id, -1, 10, 1000) == []
    assert (await store.list(ListQuery(tenant="default", label="a"))).total == 1
    assert len(await store.log_lines(young.workload.id, -1, 10, 1000)) == 1


async def test_what_is_not_finished_is_never_removed(store: Store) -> None:
    new = accepted(created_at=NOON - timedelta(days=400))
    store.insert(new)
    await store.append(chunk(new.workload.id, 0, *[NOISE] * 5))
    assert await store.sweep(SETTINGS, NOON) == Swept(workloads=0, logs=0, idempotency_keys=0)
    assert len(await store.unfinished()) == 1
    assert len(await store.log_lines(new.workload.id, -1, 10, 1 << 30)) == 5


async def test_logs_are_removed_oldest_first_until_they_fit(store: Store) -> None:
    workloads = [await add(store, NOON, NOISE) for _ in range(6)]
    swept = await store.sweep(SETTINGS, NOON)
    assert swept.logs == 3
    left = [bool(await store.log_lines(new.workload.id, -1, 1, 10)) for new in workloads]
    assert left == [False, False, False, True, True, True]
    assert (await store.list(ListQuery(tenant="default"))).total == 6
    assert await store.sweep(SETTINGS, NOON) == Swept(workloads=0, logs=0, idempotency_keys=0)


async def test_replaced_and_removed_chunks_no_longer_count(store: Store) -> None:
    """Otherwise logs would be removed too early, more and more of them."""
    first = await add(store, NOON, NOISE)
    for _ in range(5):
        await store.append(chunk(first.workload.id, 0, NOISE))
    await add(store, NOON - timedelta(days=11), *[NOISE] * 5)
    await add(store, NOON, NOISE)
    assert await store.sweep(SETTINGS, NOON) == Swept(workloads=1, logs=0, idempotency_keys=0)


async def test_an_idempotency_key_is_forgotten_in_time(store: Store) -> None:
    old = await add(store, NOON - timedelta(hours=25), key="old")
    young = await add(store, NOON - timedelta(hours=23), key="young")
    swept = await store.sweep(SETTINGS, NOON)
    assert swept.idempotency_keys == 1
    await store.insert(accepted(idempotency=("old", "x")))
    with pytest.raises(IdempotencyClash) as raised:
        await store.insert(accepted(idempotency=("young", "x")))
    assert raised.value.existing_id == young.workload.id
    assert await store.get(old.workload.id) is not None


async def test_a_sweep_of_many_steps_removes_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP", 3)
    for n in range(10):
        new = accepted(idempotency=(str(n), "x"), created_at=NOON - timedelta(days=20))
        store.insert(new)
        await store.finish(ended(new.workload, Status.KILLED, finished_at=NOON - timedelta(days=20)))
    assert (await store.sweep(SETTINGS, NOON)).workloads == 10
    assert (await store.list(ListQuery(tenant="default"))).total == 0
