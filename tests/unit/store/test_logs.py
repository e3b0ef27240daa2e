"""Log lines come back exactly as they were, in pages of any size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.model import LogLine, Stream
from caisson.store import chunks
from caisson.store.store import Store
from tests.helpers.workloads import accepted, chunk, new_id, noise

anyio = pytest.mark.anyio
MUCH = 1 << 20

instants = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))
lines_of_text = st.lists(
    st.tuples(st.sampled_from(Stream), st.text(st.characters(exclude_categories=["Cs"])), instants), min_size=1
)


@given(lines_of_text, st.integers(min_value=0, max_value=1 << 40))
def test_a_chunk_decodes_to_what_was_encoded(parts: list[tuple[Stream, str, datetime]], first_seq: int) -> None:
    lines = [LogLine(seq=first_seq + n, stream=s, line=text, ts=ts) for n, (s, text, ts) in enumerate(parts)]
    assert list(chunks.decode(chunks.encode(lines), first_seq)) == lines


def test_a_large_repetitive_chunk_is_stored_small_and_comes_back() -> None:
    lines = chunk(new_id(), 5, *["the same line again and again"] * 5_000).lines
    data = chunks.encode(lines)
    assert len(data) * 5 < 5_000 * len("the same line again and again")
    assert list(chunks.decode(data, 5)) == list(lines)


def test_compression_that_gains_nothing_is_left_out() -> None:
    text = noise(5_000)
    assert text.encode() in chunks.encode(chunk(new_id(), 0, text).lines)


async def write(store: Store, *texts_of_chunks: tuple[str, ...]) -> tuple[str, list[LogLine]]:
    """A workload with these chunks, and all their lines."""
    new = accepted()
    await store.insert(new)
    lines: list[LogLine] = []
    for texts in texts_of_chunks:
        part = chunk(new.workload.id, len(lines), *texts)
        await store.append(part)
        lines += part.lines
    return new.workload.id, lines


@anyio
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_any_size_show_every_line_once_in_order(store: Store, limit: int) -> None:
    workload_id, lines = await write(store, ("a", "b", "c"), ("d",), ("e", "f"), ("g",))
    seen: list[LogLine] = []
    while page := await store.log_lines(workload_id, seen[-1].seq if seen else -1, limit, MUCH):
        assert len(page) <= limit
        seen += page
    assert seen == lines


@anyio
@pytest.mark.parametrize("after", range(-1, 8))
async def test_reading_may_begin_anywhere(store: Store, after: int) -> None:
    workload_id, lines = await write(store, ("a", "b", "c"), ("d",), ("e", "f"), ("g",))
    assert await store.log_lines(workload_id, after, 100, MUCH) == lines[after + 1 :]


@anyio
async def test_a_page_ends_at_its_bytes_but_is_never_empty(store: Store) -> None:
    workload_id, lines = await write(store, ("x" * 1000, "y", "z" * 1000))
    assert await store.log_lines(workload_id, -1, 100, 10) == lines[:1]
    assert await store.log_lines(workload_id, 0, 100, 10) == lines[1:2]
    assert await store.log_lines(workload_id, -1, 100, 1001) == lines[:2]


@anyio
async def test_hostile_text_is_kept_as_it_is(store: Store) -> None:
    texts = ("", "\0", "\r", "\x1b[31m", "\ufffd\u2028\U0001f389", "'; DROP TABLE log_chunks; --")
    workload_id, lines = await write(store, texts)
    assert await store.log_lines(workload_id, -1, 100, MUCH) == lines


@anyio
async def test_a_line_of_ten_megabytes_and_a_hundred_thousand_lines_are_kept(store: Store) -> None:
    workload_id, lines = await write(store, ("x" * 10_000_000,), *([("short",) * 20_000] * 5))
    assert await store.log_lines(workload_id, -1, 1, MUCH) == lines[:1]
    assert await store.log_lines(workload_id, 0, 200_000, 100 * MUCH) == lines[1:]


@anyio
async def test_a_chunk_that_is_stored_again_replaces_the_first(store: Store) -> None:
    """After a commit that broke off, the caller sends the same lines again, perhaps with more behind them."""
    workload_id, _ = await write(store, ("a", "b"))
    again = chunk(workload_id, 0, "a", "b", "c")
    await store.append(again)
    assert await store.log_lines(workload_id, -1, 100, MUCH) == list(again.lines)


@anyio
async def test_workloads_do_not_see_each_others_lines(store: Store) -> None:
    one, own = await write(store, ("mine",))
    two, _ = await write(store, ("yours",), ("yours too",))
    assert await store.log_lines(one, -1, 100, MUCH) == own
    assert await store.log_lines(new_id(), -1, 100, MUCH) == []
    assert (await store.log_lines(two, 0, 100, MUCH))[0].ts - own[0].ts == timedelta(milliseconds=1)
