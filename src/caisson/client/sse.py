"""An incremental parser of server-sent events, bounded in memory.

Follows the WHATWG specification (HTML, section 9.2.6) but for `retry`: when to come back is the client's own decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"[\r\n]")
MAX_EVENT_BYTES = 128 * 1024 * 1024
"""The longest line a server sends (16 MiB), every byte of it escaped in JSON, fits."""


class EventTooLarge(Exception):
    """An event longer than the parser was told to hold."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event. `id` is the newest id seen, also where this event carried none."""

    data: str
    event: str = "message"
    id: str = ""


class SseParser:
    """Bytes in, events out; how the bytes were cut into chunks makes no difference."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._at_start = True
        self._after_cr = False
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[SseEvent]:
        """Yield the events that `chunk` completes; to be exhausted before the next call.

        Raises EventTooLarge, after the events before it, where one does not fit.
        """
        buffer, searched = self._buffer, len(self._buffer)
        buffer += chunk
        line_start = 0
        try:
            while end := _LINE_END.search(buffer, searched):
                searched = end.end()
                line = bytes(buffer[line_start : end.start()])
                line_start = searched
                second_half = self._after_cr and not line and end.group() == b"\n"
                self._after_cr = end.group() == b"\r"
                if not second_half and (event := self._take_line(line)):
                    yield event
            self._check(len(buffer) - line_start)
        finally:
            del buffer[:line_start]

    def _check(self, more_bytes: int) -> None:
        if self._data_bytes + more_bytes > self._max_event_bytes:
            raise EventTooLarge(f"an event of more than {self._max_event_bytes} bytes")

    def _take_line(self, line: bytes) -> SseEvent | None:
        self._check(len(line))
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\x00" not in value:
            self._id = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> SseEvent | None:
        event = None
        if self._data:
            text = b"\n".join(self._data).decode("utf-8", "replace")
            event = SseEvent(text, self._event or "message", self._id)
        self._data, self._data_bytes, self._event = [], 0, ""
        return event
