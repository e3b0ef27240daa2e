"""The parser of server-sent events."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.client.sse import EventTooLarge, SseEvent, SseParser


def parse(*chunks: bytes, limit: int = 1 << 20) -> list[SseEvent]:
    parser = SseParser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


STREAMS = st.lists(
    st.sampled_from(
        [
            *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b":", b" ", b"\xef\xbb\xbf", b"\x00", b"\xc3", b"\xa9"),
            *(
                b"data",
                b"data: x\n\n",
                b"data:",
                b"event: done\n",
                b"id: 7\r\n",
                b"id\n",
                b"retry: 10\n",
                b": beat\n\n",
            ),
        ]
    )
    | st.binary(max_size=8),
    max_size=30,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 500), max_size=20))
def test_how_bytes_are_cut_makes_no_difference(data: bytes, places: list[int]) -> None:
    assert parse(*cut(data, places)) == parse(data)


@given(STREAMS, st.lists(st.integers(0, 500), max_size=20), st.integers(1, 12))
def test_a_bound_is_met_at_the_same_event_however_bytes_are_cut(data: bytes, places: list[int], limit: int) -> None:
    def outcome(chunks: list[bytes]) -> tuple[list[SseEvent], bool]:
        parser, events = SseParser(limit), []
        try:
            for chunk in chunks:
                for event in parser.feed(chunk):
                    events.append(event)
        except EventTooLarge:
            return events, True
        return events, False

    assert outcome(cut(data, places)) == outcome([data])


@given(st.lists(st.tuples(st.sampled_from(["message", "done", "x"]), st.text(), st.integers(0, 99)), max_size=8))
def test_what_a_server_writes_is_what_is_read(events: list[tuple[str, str, int]]) -> None:
    written, expected = b"", []
    for name, data, number in events:
        lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        fields = [f"event: {name}", f"id: {number}", *(f"data: {line}" for line in lines)]
        written += ("\n".join(fields) + "\n\n").encode()
        expected.append(SseEvent("\n".join(lines), name, str(number)))
    assert parse(written) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_of_the_standard_ends_a_line(end: bytes) -> None:
    assert parse(end.join([b"data: a", b"data: b", b"", b""])) == [SseEvent("a\nb")]


def test_a_line_end_of_two_bytes_cut_in_the_middle_is_one() -> None:
    assert parse(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [SseEvent("a\nb")]


def test_an_event_is_out_as_soon_as_its_last_line_end_is_in() -> None:
    assert list(SseParser().feed(b"data: a\r\r")) == [SseEvent("a")]


def test_a_byte_order_mark_is_skipped_at_the_start_only() -> None:
    assert parse(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == [SseEvent("a")]


def test_a_byte_order_mark_may_come_in_pieces() -> None:
    assert parse(b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [SseEvent("a")]


def test_comments_and_unknown_fields_are_skipped() -> None:
    assert parse(b": beat\n\nretry: 5\nnonsense\ndata: a\n:x\n\n") == [SseEvent("a")]


def test_the_last_id_stays_until_another_one_comes() -> None:
    assert [event.id for event in parse(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n")] == ["1", "1", "2"]


def test_an_id_with_a_nul_is_ignored() -> None:
    assert parse(b"id: 1\x002\ndata: a\n\n") == [SseEvent("a")]


def test_an_event_without_data_is_none() -> None:
    assert parse(b"event: x\n\ndata: a\n\n") == [SseEvent("a")]


def test_exactly_one_space_behind_the_colon_is_not_data() -> None:
    assert parse(b"data:  a\n\ndata:b\n\n") == [SseEvent(" a"), SseEvent("b")]


def test_an_unfinished_event_is_none() -> None:
    assert parse(b"data: a\n") == []


def test_data_of_many_megabytes_in_small_pieces_arrives_whole() -> None:
    text = "é" * (4 << 20)
    stream = b"data: " + text.encode() + b"\n\n"
    pieces = [stream[start : start + 4093] for start in range(0, len(stream), 4093)]
    assert parse(*pieces, limit=16 << 20) == [SseEvent(text)]


def test_a_line_over_the_bound_is_refused_before_its_end_is_seen() -> None:
    with pytest.raises(EventTooLarge):
        parse(b"data: " + b"a" * 100, limit=99)


def test_many_lines_over_the_bound_together_are_refused() -> None:
    with pytest.raises(EventTooLarge):
        parse(b"data: aaaa\n" * 100, limit=99)
