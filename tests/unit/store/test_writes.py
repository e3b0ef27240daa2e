"""What was acknowledged is stored; what is not allowed is refused, and harms nothing beside it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from itertools import product

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, event

from caisson.model import TRANSITIONS, Status, Workload
from caisson.store.store import IdempotencyClash, IllegalTransition, Store, StoreError, open_store
from tests.helpers.workloads import accepted, chunk, ended, running

pytestmark = pytest.mark.anyio


def in_status(workload: Workload, status: Status) -> Workload:
    return {Status.PENDING: workload, Status.RUNNING: running(workload)}.get(status) or ended(workload, status)


async def bring_to(store: Store, status: Status) -> Workload:
    """A stored workload in this status, by the shortest allowed way."""
    new = accepted()
    await store.insert(new)
    workload = new.workload
    if status is not Status.PENDING:
        workload = running(workload)
        await store.start(workload)
    if status.terminal:
        workload = ended(workload, status)
        await store.finish(workload)
    return workload


async def test_a_workload_comes_back_as_it_was_stored(store: Store) -> None:
    new = accepted(archive="a.tar.gz", attached=True, labels={"team": "a"})
    await store.insert(new)
    stored = await store.get(new.workload.id, "default")
    assert stored is not None
    assert (stored.workload, stored.spec) == (new.workload, new.spec)
    assert (stored.tenant, stored.archive, stored.attached) == ("default", "a.tar.gz", True)


async def test_output_comes_back_byte_for_byte(store: Store) -> None:
    new = accepted()
    output = b'{ "n" : 1e400, "text": "\\u0000\xf0\x9f\x8e\x89" }'
    store.insert(new)
    store.start(running(new.workload))
    await store.finish(ended(running(new.workload), output=output))
    stored = await store.get(new.workload.id)
    assert stored is not None
    assert bytes(stored.workload.output) == output


async def test_another_tenants_workload_does_not_exist(store: Store) -> None:
    new = accepted(tenant="a")
    await store.insert(new)
    assert await store.get(new.workload.id, "b") is None


@pytest.mark.parametrize(("present", "wanted"), list(product(Status, [s for s in Status if s is not Status.PENDING])))
async def test_only_allowed_transitions_are_stored(store: Store, present: Status, wanted: Status) -> None:
    workload = await bring_to(store, present)
    target = replace(in_status(workload, wanted), exit_code=7)
    if wanted in TRANSITIONS[present]:
        await store.finish(target)
        expected = target
    else:
        with pytest.raises(IllegalTransition) as raised:
            await store.finish(target)
        assert (raised.value.present, raised.value.wanted) == (present, wanted)
        expected = workload
    stored = await store.get(workload.id)
    assert stored is not None
    assert stored.workload == expected


async def test_an_unknown_workload_cannot_move(store: Store) -> None:
    with pytest.raises(IllegalTransition, match="is not in the store"):
        await store.start(running(accepted().workload))


async def test_a_move_that_was_stored_already_is_no_error(store: Store) -> None:
    """A connection may break just when a commit succeeded; trying again must find that out."""
    new = accepted()
    end, rest = ended(running(new.workload)), chunk(new.workload.id, 0, "a", "b")
    store.insert(new)
    store.start(running(new.workload))
    await store.finish(end, rest)
    await store.finish(end, rest)
    assert await store.log_lines(new.workload.id, -1, 10, 1000) == list(rest.lines)


async def test_a_whole_life_in_one_batch_is_stored(store: Store) -> None:
    new = accepted()
    end = ended(running(new.workload))
    store.insert(new)
    store.start(running(new.workload))
    store.append(chunk(new.workload.id, 0, "first"))
    await store.finish(end, chunk(new.workload.id, 1, "last"))
    stored = await store.get(new.workload.id)
    assert stored is not None
    assert stored.workload == end
    assert [line.line for line in await store.log_lines(new.workload.id, -1, 10, 1000)] == ["first", "last"]


async def test_a_bad_write_harms_nothing_else_of_its_batch(store: Store) -> None:
    good = [accepted() for _ in range(20)]
    futures = [asyncio.ensure_future(store.insert(new)) for new in good[:10]]
    refused = [
        store.insert(good[0]),  # its id is taken
        store.start(running(accepted().workload)),
        store.append(chunk(accepted().workload.id, 0, "nobody's")),
        store.insert(accepted(idempotency=("\ud800", "x"))),  # no database takes half a character
    ]
    futures += [asyncio.ensure_future(store.insert(new)) for new in good[10:]]
    outcomes = await asyncio.gather(*refused, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreError, IllegalTransition, StoreError, StoreError]
    await asyncio.gather(*futures)
    assert [stored.workload.id for stored in await store.unfinished()] == [new.workload.id for new in good]


async def test_a_step_out_of_order_fails_alone(store: Store) -> None:
    """The second start is refused although it shares a batch with the allowed steps before and after it."""
    new = accepted()
    end = ended(running(new.workload))
    steps = [
        store.insert(new),
        store.start(running(new.workload)),
        store.start(replace(running(new.workload), node_id="another")),
        store.finish(end),
        store.finish(ended(running(new.workload), Status.FAILED)),
    ]
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        type(None),
        IllegalTransition,
        type(None),
        IllegalTransition,
    ]
    stored = await store.get(new.workload.id)
    assert stored is not None
    assert stored.workload == end


@pytest.fixture
def commits() -> Iterator[list[Connection]]:
    """Grows by one with each transaction that is committed."""
    seen: list[Connection] = []

    def note(connection: Connection) -> None:
        seen.append(connection)

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


async def test_what_waits_is_committed_together(store: Store, commits: list[Connection]) -> None:
    lives = [accepted(labels={"n": str(n)}, idempotency=(f"key {n}", "same")) for n in range(50)]
    for new in lives[:25]:
        await store.insert(new)
    commits.clear()
    writes = [store.start(running(new.workload)) for new in lives[:25]]
    writes += [store.append(chunk(new.workload.id, 0, "line")) for new in lives[:25]]
    writes += [store.insert(new) for new in lives[25:]]
    writes += [store.finish(ended(running(new.workload))) for new in lives[:25]]
    await asyncio.gather(*writes)
    # The first write may be on its way before the second is asked for.
    assert len(commits) <= 3


async def test_an_idempotency_key_belongs_to_its_first_workload(store: Store) -> None:
    first = accepted(idempotency=("key", "fingerprint"))
    await store.insert(first)
    with pytest.raises(IdempotencyClash) as same:
        await store.insert(accepted(idempotency=("key", "fingerprint")))
    with pytest.raises(IdempotencyClash) as other:
        await store.insert(accepted(idempotency=("key", "another")))
    assert (same.value.existing_id, same.value.same_request) == (first.workload.id, True)
    assert (other.value.existing_id, other.value.same_request) == (first.workload.id, False)
    assert len(await store.unfinished()) == 1


async def test_two_requests_at_once_with_one_key_make_one_workload(store: Store) -> None:
    news = [accepted(idempotency=("key", "fingerprint")) for _ in range(8)]
    outcomes = await asyncio.gather(*(store.insert(new) for new in news), return_exceptions=True)
    assert outcomes[0] is None
    assert all(isinstance(o, IdempotencyClash) and o.existing_id == news[0].workload.id for o in outcomes[1:])


async def test_tenants_do_not_share_idempotency_keys(store: Store) -> None:
    await store.insert(accepted(tenant="a", idempotency=("key", "x")))
    await store.insert(accepted(tenant="b", idempotency=("key", "y")))
    assert len(await store.unfinished()) == 2


async def test_a_failure_nobody_asks_about_makes_no_noise(store: Store) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    store.start(running(accepted().workload))
    await store.insert(accepted())
    gc.collect()
    assert complaints == []


async def test_a_caller_that_stopped_waiting_does_not_stop_the_write(store: Store) -> None:
    new = accepted()
    waiting = asyncio.ensure_future(store.insert(new))
    waiting.cancel()
    await store.insert(accepted())
    assert await store.get(new.workload.id) is not None


async def test_a_queue_that_is_full_refuses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caisson.store.writer.MAX_WAITING_BYTES", 5_000)
    first, second = accepted(code="x" * 10_000), accepted(code="x" * 10_000)
    outcomes = await asyncio.gather(store.insert(first), store.insert(second), return_exceptions=True)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], StoreError)
    await store.insert(second)


async def test_a_closed_store_refuses(url: str) -> None:
    async with open_store(url) as store:
        new = accepted()
        waiting = store.insert(new)
    await waiting
    with pytest.raises(StoreError, match="closed"):
        await store.insert(accepted())
    async with open_store(url) as store:
        assert [stored.workload for stored in await store.unfinished()] == [new.workload]
