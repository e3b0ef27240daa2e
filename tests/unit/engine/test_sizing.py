"""How many sandboxes wait: within the budget, as many as are asked for, fewer when nobody asks, fair, and steadily."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caisson.engine.sizing import BURST_S, REMEMBERED_S, Demand, Want, shares, wanted

WANTS = st.lists(st.builds(Want, st.integers(0, 40), st.integers(1, 300)), max_size=6)


@given(WANTS, st.integers(0, 20_000))
def test_never_above_the_budget_nor_above_what_is_wanted(wants: list[Want], budget_mb: int) -> None:
    given_ = shares(wants, budget_mb)
    assert sum(count * want.mem_mb for count, want in zip(given_, wants, strict=True)) <= budget_mb
    assert all(0 <= count <= want.sandboxes for count, want in zip(given_, wants, strict=True))


@given(WANTS)
def test_all_is_given_where_there_is_enough(wants: list[Want]) -> None:
    enough_mb = sum(want.sandboxes * want.mem_mb for want in wants)
    assert shares(wants, enough_mb) == [want.sandboxes for want in wants]


@given(WANTS, st.integers(0, 20_000))
def test_nobody_has_more_than_one_that_lacks_could_have_had(wants: list[Want], budget_mb: int) -> None:
    """Who lacks another sandbox, although it would have fitted beside what those with less have, does not exist."""
    given_ = shares(wants, budget_mb)
    held = [count * want.mem_mb for count, want in zip(given_, wants, strict=True)]
    for number, want in enumerate(wants):
        if given_[number] < want.sandboxes:
            with_one_more = held[number] + want.mem_mb
            for other, its in enumerate(wants):
                # The other's last sandbox came before ours in turn, or ours did not fit any more by then.
                assert held[other] <= with_one_more or sum(held) - its.mem_mb + want.mem_mb > budget_mb


@given(WANTS, st.integers(0, 20_000), st.integers(0, 500))
def test_who_wants_little_is_not_hurt_by_who_wants_more(wants: list[Want], budget_mb: int, more: int) -> None:
    modest = Want(1, 1)
    greedy = [Want(want.sandboxes + more, want.mem_mb) for want in wants]
    if budget_mb:
        assert shares([modest, *greedy], budget_mb)[0] == 1


@given(st.lists(st.floats(0, 5), max_size=80))
def test_the_largest_burst_is_remembered_for_a_while_and_then_forgotten(pauses: list[float]) -> None:
    demand, now_s = Demand(), 1_000.0
    asked: list[float] = []
    bursts: list[tuple[float, int]] = []
    for pause_s in pauses:
        now_s += pause_s
        demand.note(now_s)
        asked.append(now_s)
        bursts.append((now_s, sum(now_s - BURST_S < at <= now_s for at in asked)))
        expected = max(size for at, size in bursts if now_s - REMEMBERED_S < at <= now_s)
        assert demand.burst(now_s) == expected
    assert demand.burst(now_s + REMEMBERED_S + 0.001) == 0


@given(st.integers(0, 50), st.integers(0, 500), st.floats(1, 10))
def test_a_pool_reaches_demand_within_its_growth_and_what_is_off_stays_off(
    least: int, burst: int, growth: float
) -> None:
    size = wanted(least, burst, growth)
    assert least <= size <= max(least, int(least * growth))
    assert size >= min(burst, int(least * growth))
    assert wanted(0, burst, growth) == 0


@given(st.integers(1, 20), st.integers(2, 30), st.floats(0.05, 20))
def test_steady_bursts_make_it_rise_once_and_fall_once(least: int, size: int, apart_s: float) -> None:
    """A load that comes again and again, idle times between, is met by a size that does not go up and down with it."""
    demand, now_s = Demand(), 0.0
    sizes = [least]
    for _ in range(12):
        for _ in range(size):
            demand.note(now_s)
            sizes.append(wanted(least, demand.burst(now_s), 1_000))
        for _ in range(4):
            now_s += apart_s / 4
            sizes.append(wanted(least, demand.burst(now_s), 1_000))
    if apart_s > BURST_S:
        assert sizes == sorted(sizes)
        assert sizes[-1] == max(least, size)
    for _ in range(200):
        now_s += 1.0
        sizes.append(wanted(least, demand.burst(now_s), 1_000))
    falling = sizes[-200:]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == least
