"""Follows a log or a benchmark across any number of connections: everything exactly once, in order, to the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

import msgspec

from caisson.benchmark import BenchmarkProgress, BenchmarkResult
from caisson.client import calls
from caisson.client.errors import BadAnswer, ClientError, Unreachable
from caisson.client.sse import EventTooLarge, SseParser
from caisson.model import LogLine

_decode_line = msgspec.json.Decoder(LogLine).decode
_decode_result = msgspec.json.Decoder(BenchmarkResult).decode
_decode_progress = msgspec.json.Decoder(BenchmarkProgress).decode
FRUITLESS_CONNECTIONS = 5
"""Give up after this many connections in a row that brought nothing new."""


E_co = TypeVar("E_co", covariant=True)


class Follower(Protocol[E_co]):
    """What both clients need to know to follow something."""

    ended: bool

    def connect(self) -> calls.Call[None]:
        """The call that opens the next connection."""
        ...

    def feed(self, chunk: bytes) -> Iterator[E_co]:
        """What is new in `chunk`; sets `ended` at the end."""
        ...

    def pause_s(self, error: ClientError | None) -> float:
        """How long to wait before the next connection; raises where there is no point in one."""
        ...


class LogFollower:
    """What has been seen of a log so far, and what that makes of the next bytes. Does no I/O itself."""

    def __init__(self, url: str, workload_id: str, after: int) -> None:
        self.ended = False
        self._url = url
        self._workload_id = workload_id
        self._seen = after
        self._fruitless = 0
        self._parser = SseParser()

    def connect(self) -> calls.Call[None]:
        """The call that opens the next connection, behind the last line seen."""
        self._parser = SseParser()
        self._fruitless += 1
        return calls.follow(self._workload_id, self._seen)

    def feed(self, chunk: bytes) -> Iterator[LogLine]:
        """The new lines in `chunk`; sets `ended` at the end of the log."""
        try:
            for event in self._parser.feed(chunk):
                if event.event == "done":
                    self.ended = True
                    return
                if event.event == "message" and (line := self._new_line(event.data)):
                    yield line
        except (EventTooLarge, *calls.NOT_JSON) as error:
            raise BadAnswer(self._url, f"in a log stream: {error}") from error

    def _new_line(self, data: str) -> LogLine | None:
        line = _decode_line(data)
        if line.seq <= self._seen:
            return None
        if line.seq != self._seen + 1:
            raise BadAnswer(self._url, f"log line {line.seq} came after line {self._seen}")
        self._seen = line.seq
        self._fruitless = 0
        return line

    def pause_s(self, error: ClientError | None) -> float:
        """How long to wait before connecting again after one that ended early, by `error` or politely.

        Raises the error, or Unreachable, where there is no point in going on.
        """
        return _pause_s(self._url, self._fruitless, error)


class BenchmarkFollower:
    """What has been seen of a benchmark so far, and what that makes of the next bytes. Does no I/O itself."""

    def __init__(self, url: str, benchmark_id: str) -> None:
        self.ended = False
        self._url = url
        self._benchmark_id = benchmark_id
        self._seen = -1
        self._fruitless = 0
        self._parser = SseParser()

    def connect(self) -> calls.Call[None]:
        """The call that opens the next connection, behind the last result seen."""
        self._parser = SseParser()
        self._fruitless += 1
        return calls.follow_benchmark(self._benchmark_id, self._seen)

    def feed(self, chunk: bytes) -> Iterator[BenchmarkResult | BenchmarkProgress]:
        """The new results in `chunk` and the progress between them; sets `ended` at the end of the benchmark."""
        try:
            for event in self._parser.feed(chunk):
                if event.event == "done":
                    self.ended = True
                    return
                if event.event == "progress":
                    self._fruitless = 0
                    yield _decode_progress(event.data)
                elif event.event == "result" and (result := _decode_result(event.data)).seq > self._seen:
                    self._seen, self._fruitless = result.seq, 0
                    yield result
        except (EventTooLarge, *calls.NOT_JSON) as error:
            raise BadAnswer(self._url, f"in a benchmark's stream: {error}") from error

    def pause_s(self, error: ClientError | None) -> float:
        """As `LogFollower.pause_s`."""
        return _pause_s(self._url, self._fruitless, error)


def _pause_s(url: str, fruitless: int, error: ClientError | None) -> float:
    if error is not None and not isinstance(error, Unreachable):
        raise error
    if fruitless >= FRUITLESS_CONNECTIONS:
        raise error or Unreachable(url, "streams end before what they tell of does")
    return 0.1 * (1 << fruitless)
