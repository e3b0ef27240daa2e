"""A workload's log on its way from the sandbox to the store and to live readers.

Readers are shown only lines that are committed, so a line once seen is never lost; live and stored are one stream.
Lines gather while the previous commit is under way, so the size of a chunk follows the load by itself. When too much
waits, the writer waits too, and with it the program.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import structlog

from caisson.errors import CaissonError
from caisson.model import LogLine, Stream
from caisson.store.records import LogChunk

logger = structlog.get_logger(__name__)

MAX_LINE_BYTES = 16 << 20
"""A line longer than this is cut; above the default `max_output_bytes`, so that by default no line ever is."""
MAX_WAITING_BYTES = 4 << 20
"""Uncommitted bytes at which the program is made to wait."""
TAIL_BYTES = 512 << 10
"""Committed bytes kept in memory for readers that are close to the end."""
MAX_CHUNK_LINES = 20_000
GATHER_S = 0.002
"""How long the first line waits for company: short programs then need no commit of their own for their log."""
RETRY_S = 1.0


class LineAssembler:
    """Cuts the bytes of both streams into numbered lines. Holds at most one unfinished line for each stream."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC), first_seq: int = 0) -> None:
        self._now = now
        self._rest: dict[Stream, bytearray] = {stream: bytearray() for stream in Stream}
        self.next_seq = first_seq

    def feed(self, stream: Stream, data: bytes) -> list[LogLine]:
        """The lines completed by `data`."""
        rest = self._rest[stream]
        cut = data.rfind(b"\n")
        if cut < 0:
            rest += data
            return self._number(stream, self._overlong(rest))
        block = bytes(rest) + data[:cut] if rest else data[:cut]
        rest[:] = data[cut + 1 :]
        # A newline is never part of a multi-byte character, so decoding the block is decoding each of its lines.
        lines = block.decode("utf-8", "replace").split("\n")
        if len(block) > MAX_LINE_BYTES:
            lines = [piece for line in lines for piece in _pieces(line)]
        return self._number(stream, lines)

    def flush(self) -> list[LogLine]:
        """The unfinished lines, when no more will come."""
        lines: list[LogLine] = []
        for stream, rest in self._rest.items():
            if rest:
                lines += self._number(stream, [rest.decode("utf-8", "replace")])
                rest.clear()
        return lines

    def _overlong(self, rest: bytearray) -> list[str]:
        pieces = []
        while len(rest) > MAX_LINE_BYTES:
            pieces.append(rest[:MAX_LINE_BYTES].decode("utf-8", "replace"))
            del rest[:MAX_LINE_BYTES]
        return pieces

    def _number(self, stream: Stream, lines: Sequence[str]) -> list[LogLine]:
        if not lines:
            return []
        ts, first = self._now(), self.next_seq
        self.next_seq += len(lines)
        return [LogLine(seq=first + i, stream=stream, line=line, ts=ts) for i, line in enumerate(lines)]


def _pieces(line: str) -> list[str]:
    return [line[i : i + MAX_LINE_BYTES] for i in range(0, len(line), MAX_LINE_BYTES)] or [""]


class WorkloadLog:
    """The log of one workload that is not finished. One writer (the runner), any number of readers."""

    def __init__(self, workload_id: str, append: Callable[[LogChunk], Awaitable[None]], lines: int = 0) -> None:
        """`lines` are in the store already, from before a restart."""
        self._id = workload_id
        self._append = append
        self._assembler = LineAssembler(first_seq=lines)
        self._waiting: list[LogLine] = []
        self._waiting_bytes = 0
        self._tail: deque[LogChunk] = deque()
        self._tail_bytes = 0
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._in_flight: tuple[LogChunk, asyncio.Future[None]] | None = None
        self.committed = lines
        """Every line with a smaller sequence number is in the store."""
        self.closed = False
        """True when nothing will be added and everything is committed."""

    async def write(self, stream: Stream, data: bytes) -> None:
        """Add output; returns when there is room for more."""
        lines = self._assembler.feed(stream, data)
        if lines:
            self._waiting += lines
            self._waiting_bytes += len(data)
            self._arrived.set()
        while self._waiting_bytes > MAX_WAITING_BYTES:
            await self.change()

    async def commit_as_they_come(self) -> None:
        """Move lines to the store until cancelled. A store that fails is tried again: nothing is dropped."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await asyncio.sleep(GATHER_S)
            while self._waiting:
                try:
                    await self._commit_some()
                except CaissonError as error:
                    logger.error("log lines could not be stored, trying again", workload=self._id, error=error.detail)
                    await asyncio.sleep(RETRY_S)

    def cut(self) -> None:
        """End unfinished lines, where another run of the program follows."""
        self._waiting += self._assembler.flush()
        self._arrived.set()

    async def rest(self) -> LogChunk | None:
        """What is not committed when the program has ended, for the commit that finishes the workload.

        Called once, after `commit_as_they_come` was cancelled: a commit that it left under way is waited for.
        """
        if self._in_flight is not None:
            with contextlib.suppress(CaissonError):
                await self._commit_some()
        self._waiting += self._assembler.flush()
        return LogChunk(self._id, self._waiting[0].seq, tuple(self._waiting)) if self._waiting else None

    async def _commit_some(self) -> None:
        if self._in_flight is None:
            lines = tuple(self._waiting[:MAX_CHUNK_LINES])
            chunk = LogChunk(self._id, lines[0].seq, lines)
            self._in_flight = chunk, asyncio.ensure_future(self._append(chunk))
        chunk, committed = self._in_flight
        try:
            await asyncio.shield(committed)
        finally:
            # A commit that ended in the moment this was cancelled counts all the same.
            if committed.done():
                self._in_flight = None
                if not committed.cancelled() and committed.exception() is None:
                    self.mark_committed(chunk)

    def mark_committed(self, chunk: LogChunk) -> None:
        """Note that `chunk`, the oldest lines that waited, is in the store, and wake whom it concerns."""
        del self._waiting[: len(chunk.lines)]
        if not self._waiting:
            self._waiting_bytes = 0
        else:
            self._waiting_bytes = sum(len(line.line) for line in self._waiting)
        self.committed = chunk.first_seq + len(chunk.lines)
        self._tail.append(chunk)
        self._tail_bytes += _size(chunk)
        while self._tail_bytes > TAIL_BYTES and len(self._tail) > 1:
            self._tail_bytes -= _size(self._tail.popleft())
        self.wake()

    def close(self) -> None:
        """Let readers end."""
        self.closed = True
        self.wake()

    def tail(self, after: int) -> list[LogLine] | None:
        """Committed lines with a number above `after` if memory still has them, else None."""
        if not self._tail or after + 1 < self._tail[0].first_seq:
            return None
        return [line for chunk in self._tail if chunk.lines[-1].seq > after for line in chunk.lines if line.seq > after]

    async def change(self) -> None:
        """Wait until lines were committed or the log was closed."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let readers look again."""
        # Event.set resolves the futures of all present waiters; clearing it at once makes later ones wait anew.
        self._changed.set()
        self._changed.clear()


def _size(chunk: LogChunk) -> int:
    return sum(len(line.line) for line in chunk.lines) + 100 * len(chunk.lines)
