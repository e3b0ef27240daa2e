"""Follows one workload's log across any number of connections: every line exactly once, in order, to the end."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from caisson.client import calls
from caisson.client.errors import BadAnswer, ClientError, Unreachable
from caisson.client.sse import EventTooLarge, SseParser
from caisson.model import LogLine

_decode_line = msgspec.json.Decoder(LogLine).decode
FRUITLESS_CONNECTIONS = 5
"""Give up after this many connections in a row that brought nothing new."""


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
        if error is not None and not isinstance(error, Unreachable):
            raise error
        if self._fruitless >= FRUITLESS_CONNECTIONS:
            raise error or Unreachable(self._url, "log streams end before the log does")
        return 0.1 * (1 << self._fruitless)
