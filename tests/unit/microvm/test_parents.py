"""Parents: each child goes to one taker, whatever becomes of the parent, and none outlives who has a use for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.microvm import parents as module
from caisson.backends.microvm.parents import Child, Parent, Parents
from caisson.backends.microvm.snapshot import Template
from caisson.backends.microvm.vmm import Increment, Snapshot, VmmError

pytestmark = pytest.mark.anyio
PATIENCE_S = 10.0


class Nursery:
    """Parents that are none: how many there are, and were, and what their children are called."""

    def __init__(self) -> None:
        self.there = self.brought_up = 0
        self._changed = asyncio.Condition()
        self.fails = False
        self.may_bear = asyncio.Event()
        self.may_bear.set()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Parent]:
        self.brought_up += 1
        await self._count(1)
        try:
            unused: Any = None
            yield Born(self, self.brought_up, unused)
        finally:
            await self._count(-1)

    async def until(self, there: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.there == there)

    async def _count(self, more: int) -> None:
        async with self._changed:
            self.there += more
            self._changed.notify_all()


class Born(Parent):
    """Bears at once, unless its nursery holds it back."""

    def __init__(self, nursery: Nursery, number: int, unused: Any) -> None:
        super().__init__(unused, unused, unused, unused, PATIENCE_S)
        self._nursery = nursery
        self._number = number

    async def bear(self) -> Child:
        await self._nursery.may_bear.wait()
        if self._nursery.fails:
            raise VmmError("it is dead")
        self.children += 1
        return Child(Increment(b"", ()), Path(f"{self._number}.{self.children}"))


@pytest.fixture
def template() -> Template:
    return Template(Path(), Snapshot(Path(), -1), Path(), b"")


@pytest.fixture
def nursery() -> Nursery:
    return Nursery()


@pytest.fixture
async def parents() -> AsyncIterator[Parents]:
    made = Parents(most=2)
    async with asyncio.timeout(PATIENCE_S):
        yield made
        await made.close()


async def begin(parents: Parents, template: Template, nursery: Nursery) -> None:
    """Ask so often that there is a parent, and it had a child."""
    for _ in range(2):
        assert await parents.take(template, nursery.up) is None
    await nursery.until(1)
    await asyncio.sleep(0.01)


async def test_a_parent_is_for_those_who_ask_again_and_none_waits_for_its_first_child(
    parents: Parents, template: Template, nursery: Nursery
) -> None:
    nursery.may_bear.clear()
    assert await parents.take(template, nursery.up) is None
    assert nursery.brought_up == 0
    for _ in range(3):
        assert await parents.take(template, nursery.up) is None
    await nursery.until(1)
    nursery.may_bear.set()
    await asyncio.sleep(0.01)
    assert await parents.take(template, nursery.up) is not None
    assert nursery.brought_up == 1


async def test_who_asks_but_seldom_gets_no_parent(
    parents: Parents, template: Template, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.0)
    for _ in range(3):
        assert await parents.take(template, nursery.up) is None
        await asyncio.sleep(0.001)
    assert nursery.brought_up == 0


async def test_each_child_is_one_taker_s(parents: Parents, template: Template, nursery: Nursery) -> None:
    await begin(parents, template, nursery)
    taken = [await parents.take(template, nursery.up) for _ in range(3)]
    taken += await asyncio.gather(*(parents.take(template, nursery.up) for _ in range(5)))
    names = [child.disk for child in taken if child is not None]
    assert len(set(names)) == len(taken) == 8
    assert nursery.there <= 2, "several who wait get a second parent, and no third"


async def test_a_child_whose_taker_went_away_is_the_next_one_s(
    parents: Parents, template: Template, nursery: Nursery
) -> None:
    await begin(parents, template, nursery)
    assert await parents.take(template, nursery.up) is not None
    nursery.may_bear.clear()
    gone, stays = (asyncio.create_task(parents.take(template, nursery.up)) for _ in range(2))
    await asyncio.sleep(0.01)
    gone.cancel()
    nursery.may_bear.set()
    assert await stays is not None


async def test_a_parent_s_end_is_told_to_those_who_wait_and_another_one_follows(
    parents: Parents, template: Template, nursery: Nursery
) -> None:
    await begin(parents, template, nursery)
    nursery.fails = True
    assert await parents.take(template, nursery.up) is not None, "it was there already"
    with pytest.raises(VmmError, match="it is dead"):
        await parents.take(template, nursery.up)
    await nursery.until(0)
    assert template.users == 0
    nursery.fails = False
    assert await parents.take(template, nursery.up) is None
    await nursery.until(1)


async def test_a_parent_that_nobody_asks_for_long_or_that_had_many_children_is_ended(
    parents: Parents, template: Template, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(parents, template, nursery)
    monkeypatch.setattr(module, "CHILDREN_MOST", 2)
    assert await parents.take(template, nursery.up) is not None
    assert await parents.take(template, nursery.up) is not None
    await nursery.until(0)
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    await begin(parents, template, nursery)
    await nursery.until(0)
    assert template.users == 0


async def test_all_are_ended_at_the_end_also_those_that_are_just_being_brought_up(
    template: Template, nursery: Nursery
) -> None:
    parents = Parents()
    nursery.may_bear.clear()
    for _ in range(2):
        assert await parents.take(template, nursery.up) is None
    await parents.close()
    assert nursery.there == 0
    assert template.users == 0
    await parents.close()
