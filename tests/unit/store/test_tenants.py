"""Tenants' policies, their CPU time, and an audit log that is only ever added to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from caisson.model import Isolation, Usage
from caisson.settings import Settings
from caisson.store.database import writing_engine
from caisson.store.store import Store
from caisson.tenants import AuditEntry, TenantPolicy
from tests.helpers.workloads import NOON, accepted, ended, running

pytestmark = pytest.mark.anyio


def entry(number: int, **members: str) -> AuditEntry:
    given = {"tenant": "a", "actor": "0badcafe", "action": "workload.kill", "target": f"target {number}", **members}
    return AuditEntry(at=NOON + timedelta(days=number), **given)


async def test_policies_are_set_replaced_and_removed(store: Store) -> None:
    policy = TenantPolicy(concurrent=3, least_isolation=Isolation.GVISOR)
    await store.put_tenant("a", TenantPolicy(weight=2))
    await store.put_tenant("a", policy)
    assert await store.tenants() == {"a": policy}
    assert await store.put_tenant("a", None)
    assert not await store.put_tenant("a", None)
    assert await store.tenants() == {}


async def test_cpu_time_is_summed_by_tenant_and_hour(store: Store) -> None:
    for tenant, minutes, cpu_ms in (("a", 0, 100.0), ("a", 59, 50.0), ("a", 60, 7.0), ("b", 0, 1.0), ("b", 0, None)):
        new = accepted(tenant=tenant)
        await store.insert(new)
        done = ended(running(new.workload))
        at = NOON + timedelta(minutes=minutes)
        store.start(running(new.workload))
        await store.finish(replace(done, finished_at=at, usage=Usage(cpu_ms=cpu_ms)))
    hour = int(NOON.timestamp()) // 3600
    assert sorted(await store.cpu_spent(NOON)) == [("a", hour, 150.0), ("a", hour + 1, 7.0), ("b", hour, 1.0)]
    assert await store.cpu_spent(NOON + timedelta(minutes=60)) == [("a", hour + 1, 7.0)]


async def test_the_audit_log_is_read_newest_first_in_pages_and_by_what_is_looked_for(store: Store) -> None:
    for number in range(5):
        store.note(entry(number))
    await store.note(entry(5, tenant="b", actor="local", action="benchmark.start"))
    page = await store.noted(4)
    assert [row.target for row in page.entries] == [f"target {number}" for number in (5, 4, 3, 2)]
    assert page.next_before == page.entries[-1].seq
    rest = await store.noted(4, page.next_before)
    assert ([row.target for row in rest.entries], rest.next_before) == (["target 1", "target 0"], None)
    for found in (
        await store.noted(9, tenant="b"),
        await store.noted(9, actor="local"),
        await store.noted(9, action="benchmark.start"),
    ):
        assert [row.target for row in found.entries] == ["target 5"]


async def test_no_entry_can_be_changed_and_only_old_ones_are_removed(store: Store, url: str, tmp_path: Path) -> None:
    for number in range(60):
        store.note(entry(number))
    await store.note(entry(60))
    engine = writing_engine(url)
    try:
        with pytest.raises(DBAPIError, match="only ever added to"), engine.begin() as connection:
            connection.execute(text("UPDATE audit SET actor = 'nobody'"))
    finally:
        engine.dispose()
    settings = Settings(data_dir=tmp_path, audit_days=1)
    swept = await store.sweep(settings, NOON + timedelta(days=31, hours=1))
    assert swept.audit == 31
    last = (await store.noted(1)).entries[0].seq
    await store.note(entry(61))
    assert (await store.noted(1)).entries[0].seq == last + 1


async def test_numbers_of_removed_entries_are_not_used_again(store: Store, tmp_path: Path) -> None:
    await store.note(entry(0))
    first = (await store.noted(1)).entries[0].seq
    await store.sweep(Settings(data_dir=tmp_path, audit_days=1), NOON + timedelta(days=9))
    await store.note(entry(1))
    assert (await store.noted(1)).entries[0].seq == first + 1
