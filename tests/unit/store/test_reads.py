"""Lists, filters and figures."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from caisson.errors import Refusal, Refused
from caisson.model import Isolation, IsolationChoice, Runtime, StartKind, Status
from caisson.store.records import Finished, ListQuery
from caisson.store.store import Store
from tests.helpers.workloads import NOON, accepted, ended, new_id, running

pytestmark = pytest.mark.anyio


async def ids(store: Store, **query: object) -> list[str]:
    """What a list of the tenant `default` shows, and says it counts."""
    page = await store.list(ListQuery(tenant="default", **query))  # type: ignore[arg-type]  # each test names real ones
    found = [workload.id for workload in page.workloads]
    assert page.total == len(found)
    return found


async def test_an_empty_list_is_one_page(store: Store) -> None:
    page = await store.list(ListQuery(tenant="default"))
    assert (page.workloads, page.total, page.next_cursor) == ([], 0, None)


async def test_cursors_lead_through_everything_once_newest_first(store: Store) -> None:
    news = [accepted() for _ in range(7)]
    for new in news:
        store.insert(new)
    await store.insert(accepted(tenant="another"))
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.list(ListQuery(tenant="default", limit=3, cursor=cursor))
        assert page.total == 7
        seen += [workload.id for workload in page.workloads]
        cursor = page.next_cursor
        if cursor is None:
            break
        # What comes later is on the pages before, and moves nothing.
        await store.insert(accepted(tenant="another"))
    assert seen == [new.workload.id for new in reversed(news)]


async def test_a_new_workload_does_not_disturb_a_cursor(store: Store) -> None:
    old = [accepted() for _ in range(4)]
    for new in old:
        await store.insert(new)
    first = await store.list(ListQuery(tenant="default", limit=2))
    await store.insert(accepted())
    second = await store.list(ListQuery(tenant="default", limit=2, cursor=first.next_cursor))
    assert [workload.id for workload in second.workloads] == [old[1].workload.id, old[0].workload.id]


async def test_a_full_last_page_has_no_cursor(store: Store) -> None:
    for _ in range(4):
        await store.insert(accepted())
    page = await store.list(ListQuery(tenant="default", limit=2, offset=2))
    assert (len(page.workloads), page.next_cursor, page.offset, page.limit) == (2, None, 2, 2)


@pytest.mark.parametrize(
    "cursor", ["", "%", "ä", "AAAA", "=" * 5, base64.urlsafe_b64encode(b"' OR 1=1 --").decode(), "0" * 26]
)
async def test_a_cursor_no_page_gave_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(Refused) as raised:
        await store.list(ListQuery(tenant="default", cursor=cursor))
    assert (raised.value.reason, raised.value.member) == (Refusal.INVALID_VALUE, "cursor")


async def test_filters_find_what_they_say(store: Store) -> None:
    plain = accepted(labels={"team": "a", "stage": "test"})
    asked = accepted(runtime=Runtime.WASM, isolation=IsolationChoice.ISOLATE, labels={"team": "b"})
    other = accepted(runtime=Runtime.PYTHON, isolation_used=Isolation.GVISOR)
    for new in (plain, asked, other):
        store.insert(new)
    await store.start(running(plain.workload))
    a, b, c = plain.workload.id, asked.workload.id, other.workload.id
    assert await ids(store, status=Status.RUNNING) == [a]
    assert await ids(store, status=Status.PENDING) == [c, b]
    assert await ids(store, runtime=Runtime.WASM) == [b]
    assert await ids(store, isolation=IsolationChoice.ISOLATE) == [b, a]
    assert await ids(store, isolation=IsolationChoice.AUTO) == [c, a]
    assert await ids(store, label="team") == [b, a]
    assert await ids(store, label="team=a") == [a]
    assert await ids(store, label="team=") == []
    assert await ids(store, label="stage=test", status=Status.RUNNING, runtime=Runtime.NODE) == [a]
    assert await ids(store, label="stage=test", status=Status.PENDING) == []


async def test_label_values_are_compared_as_they_are(store: Store) -> None:
    new = accepted(labels={"q": "a=b%_'\"\\ ü"})
    await store.insert(new)
    assert await ids(store, label="q=a=b%_'\"\\ ü") == [new.workload.id]
    assert await ids(store, label="q=a%") == []


async def test_unfinished_ones_come_oldest_first(store: Store) -> None:
    news = [accepted() for _ in range(3)]
    for new in news:
        store.insert(new)
    done = accepted()
    store.insert(done)
    store.finish(ended(done.workload, Status.KILLED))
    await store.start(running(news[0].workload))
    found = await store.unfinished()
    assert [stored.workload.id for stored in found] == [new.workload.id for new in news]
    assert [stored.workload.status for stored in found] == [Status.RUNNING, Status.PENDING, Status.PENDING]
    assert found[1].spec == news[1].spec


async def test_counts_are_by_tenant_and_name_every_value(store: Store) -> None:
    one, two = accepted(), accepted(runtime=Runtime.WASM)
    for new in (one, two, accepted(tenant="another")):
        store.insert(new)
    store.start(running(one.workload))
    await store.finish(ended(one.workload))
    counts = await store.counts("default")
    assert counts.status == {status: 0 for status in Status} | {Status.COMPLETED: 1, Status.PENDING: 1}
    assert counts.isolation == {isolation: 0 for isolation in Isolation} | {Isolation.ISOLATE: 2}
    assert counts.runtime == {runtime: 0 for runtime in Runtime} | {Runtime.NODE: 1, Runtime.WASM: 1}


async def test_figures_are_of_what_finished_in_time_and_had_a_sandbox(store: Store) -> None:
    old, new, never_ran, unfinished = (accepted() for _ in range(4))
    for each in (old, new, never_ran, unfinished):
        store.insert(each)
    store.finish(ended(running(old.workload), Status.FAILED, finished_at=NOON - timedelta(hours=1)))
    store.finish(ended(running(new.workload), Status.FAILED, finished_at=NOON, total_ms=12.5))
    await store.finish(ended(never_ran.workload, Status.KILLED))
    assert await store.finished_since("default", NOON) == [
        Finished(Status.FAILED, Isolation.ISOLATE, StartKind.WARM, NOON, 12.5)
    ]
    assert await store.finished_since("another", NOON) == []


async def test_there_is_no_workload_with_an_unknown_id(store: Store) -> None:
    assert await store.get(new_id()) is None


async def test_a_store_that_works_has_no_problem(store: Store) -> None:
    assert await store.problem() is None
