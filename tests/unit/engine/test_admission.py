"""Admission: places and memory are never given twice, the queue is bounded, tenants get their share."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.engine.admission import Admission, FairQueue, Ticket
from caisson.errors import Refused


def ticket(tenant: str) -> Ticket:
    return Ticket(tenant, 1)


def test_a_place_is_granted_at_once_while_there_is_room() -> None:
    admission = Admission(places=1, mem_mb=100, queue_limit=10)
    assert admission.enter("a", 100).granted.is_set()


def test_one_that_leaves_lets_the_next_in() -> None:
    admission = Admission(places=1, mem_mb=100, queue_limit=10)
    first, second = admission.enter("a", 1), admission.enter("a", 1)
    assert not second.granted.is_set()
    admission.leave(first)
    assert second.granted.is_set()


def test_a_big_one_at_the_head_is_not_overtaken_for_ever() -> None:
    admission = Admission(places=10, mem_mb=100, queue_limit=10)
    running = admission.enter("a", 60)
    big, small = admission.enter("a", 80), admission.enter("a", 10)
    assert not small.granted.is_set()
    admission.leave(running)
    assert big.granted.is_set()
    assert small.granted.is_set()


def test_one_that_gives_up_its_turn_does_not_hold_up_the_others() -> None:
    admission = Admission(places=1, mem_mb=100, queue_limit=10)
    running, gone, waiting = (admission.enter("a", 1) for _ in range(3))
    admission.leave(gone)
    admission.leave(running)
    assert waiting.granted.is_set()
    assert admission.queued == 0


def test_a_full_queue_is_a_503_with_retry_after() -> None:
    admission = Admission(places=1, mem_mb=100, queue_limit=1)
    admission.enter("a", 1)
    admission.check(1)
    admission.enter("a", 1)
    with pytest.raises(Refused) as refused:
        admission.check(1)
    assert refused.value.status == 503
    assert refused.value.retry_after_s


def test_without_a_queue_a_free_place_can_still_be_had() -> None:
    Admission(places=1, mem_mb=100, queue_limit=0).check(1)


def test_more_memory_than_the_node_has_is_a_422_that_names_the_member() -> None:
    with pytest.raises(Refused) as refused:
        Admission(places=1, mem_mb=100, queue_limit=1).check(101)
    assert (refused.value.status, refused.value.member) == (422, "resources.mem_mb")


def test_a_tenant_with_many_waiting_does_not_keep_another_from_its_turn() -> None:
    queue = FairQueue()
    for tenant in "aaaaaaaab":
        queue.push(ticket(tenant))
    assert "b" in [queue.pop().tenant for _ in range(2)]


def test_tenants_get_places_in_proportion_to_their_weight() -> None:
    queue = FairQueue({"a": 3.0, "b": 1.0}.__getitem__)
    for tenant in "ab" * 40:
        queue.push(ticket(tenant))
    assert Counter(queue.pop().tenant for _ in range(40)) == {"a": 30, "b": 10}


def test_a_tenant_cannot_save_up_turns_while_it_is_away() -> None:
    queue = FairQueue()
    for _ in range(20):
        queue.push(ticket("busy"))
    for _ in range(10):
        queue.pop()
    for _ in range(10):
        queue.push(ticket("back"))
    assert Counter(queue.pop().tenant for _ in range(10))["busy"] >= 4


@given(
    places=st.integers(1, 5),
    mem_mb=st.integers(10, 50),
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(1, 10))),
)
def test_promises_never_exceed_the_node_and_nobody_waits_for_nothing(
    places: int, mem_mb: int, steps: list[tuple[bool, str, int]]
) -> None:
    admission = Admission(places=places, mem_mb=mem_mb, queue_limit=1000)
    inside: list[Ticket] = []
    for leaves, tenant, size in steps:
        if leaves and inside:
            admission.leave(inside.pop(size % len(inside)))
        else:
            inside.append(admission.enter(tenant, size))
        granted = [one for one in inside if one.granted.is_set()]
        assert len(granted) == admission.running <= places
        assert sum(one.mem_mb for one in granted) == admission.used_mb <= mem_mb
        assert len(inside) - len(granted) == admission.queued
        assert granted or not inside
