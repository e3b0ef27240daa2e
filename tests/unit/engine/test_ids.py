"""Ids: sorting by id is sorting by acceptance, whatever the clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caisson.engine.ids import IdMaker
from caisson.model import is_workload_id


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2))
def test_ids_rise_strictly_even_when_the_clock_is_set_back(clock: list[int]) -> None:
    ticks = iter(clock)
    new_id = IdMaker(lambda: next(ticks))
    ids = [new_id() for _ in clock]
    assert ids == sorted(set(ids))
    assert all(is_workload_id(one) for one in ids)
