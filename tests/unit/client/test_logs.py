"""Following a log over connections that break."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson import ApiError, Unreachable
from caisson.client import BadAnswer
from caisson.client.following import LogFollower
from tests.helpers.double import Reply, Request, answering

ID = "01J00000000000000000000000"


def event(seq: int) -> bytes:
    line = {"seq": seq, "stream": "stdout", "line": f"line {seq}", "ts": "2026-01-02T03:04:05Z"}
    return f"id: {seq}\ndata: {json.dumps(line)}\n\n".encode()


DONE = b'event: done\ndata: {"status":"completed"}\n\n'


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between connections are skipped; their number stays."""
    pause_s = LogFollower.pause_s
    monkeypatch.setattr(LogFollower, "pause_s", lambda *args: pause_s(*args) * 0)


def stream(*chunks: bytes, cut: bool = False) -> Reply:
    return Reply(200, chunks, {"Content-Type": "text/event-stream"}, cut)


def connections(*replies: Reply) -> Callable[[Request], Reply]:
    waiting = list(replies)
    return lambda request: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def follow(make: Any, *replies: Reply, after: int = -1) -> tuple[list[int], list[str | None]]:
    """The numbers of the lines that came, and the Last-Event-ID of each connection."""
    with answering(connections(*replies)) as double, make(double.url) as client:
        seen = [line.seq for line in client.logs(ID, after=after)]
    return seen, [request.headers.get("last-event-id") for request in double.requests]


def test_the_log_ends_at_done(make: Any) -> None:
    assert follow(make, stream(event(0), b":\n\n", event(1), DONE, event(2))) == ([0, 1], [None])


@pytest.mark.parametrize("cut", [True, False], ids=["broken off", "ended politely"])
def test_a_stream_that_ends_early_is_taken_up_behind_the_last_line(make: Any, cut: bool) -> None:
    first = stream(event(0), event(1), event(2)[:20], cut=cut)
    assert follow(make, first, stream(event(2), DONE)) == ([0, 1, 2], [None, "1"])


def test_a_line_that_comes_again_is_shown_once(make: Any) -> None:
    first = stream(event(0), event(1), cut=True)
    assert follow(make, first, stream(event(0), event(1), event(2), DONE))[0] == [0, 1, 2]


def test_following_can_begin_behind_a_line(make: Any) -> None:
    assert follow(make, stream(event(8), DONE), after=7) == ([8], ["7"])


def test_a_missing_line_is_an_error_and_never_a_silent_gap(make: Any) -> None:
    with pytest.raises(BadAnswer, match="line 3 came after line 0"):
        follow(make, stream(event(0), event(3), DONE))


def test_a_busy_server_is_asked_again_for_the_stream(make: Any) -> None:
    busy = Reply(503, headers={"Retry-After": "0"})
    assert follow(make, stream(event(0), cut=True), busy, stream(event(1), DONE))[0] == [0, 1]


def test_a_workload_that_does_not_exist_is_told_at_once(make: Any) -> None:
    with pytest.raises(ApiError) as caught:
        follow(make, Reply(404, [b"none"]))
    assert caught.value.status == 404


def test_streams_that_never_bring_anything_are_given_up(make: Any) -> None:
    with pytest.raises(Unreachable):
        follow(make, stream())


def test_a_server_that_does_not_come_back_is_told_after_what_it_had_said(make: Any) -> None:
    with answering(connections(stream(event(0), cut=True))) as double:
        client = make(double.url)
        log = client.logs(ID)
        assert next(log).seq == 0
    with client, pytest.raises(Unreachable):
        next(log)


def test_leaving_early_closes_the_stream(make: Any) -> None:
    def endless(request: Request) -> Reply:
        return stream(*(event(number) for number in range(50)), *[b":\n\n"] * 10)

    with answering(endless) as double, make(double.url) as client:
        log = client.logs(ID)
        assert next(log).seq == 0
        log.close()
        assert next(client.logs(ID)).seq == 0


@given(st.lists(st.integers(0, 400), max_size=6), st.integers(1, 6))
def test_wherever_connections_break_every_line_comes_once_and_in_order(breaks: list[int], lines: int) -> None:
    whole = [event(number) for number in range(lines)]
    follower = LogFollower("http://x", ID, -1)
    seen: list[int] = []
    for place in breaks:
        call = follower.connect()
        start = int(call.headers.get("Last-Event-ID", "-1")) + 1
        seen += [line.seq for line in follower.feed(b"".join(whole[start:])[:place])]
    call = follower.connect()
    start = int(call.headers.get("Last-Event-ID", "-1")) + 1
    seen += [line.seq for line in follower.feed(b"".join(whole[start:]) + DONE)]
    assert follower.ended
    assert seen == list(range(lines))
