"""The one thread that writes: it commits whatever was asked for while its previous commit was under way.

Callers are on the event loop. Each gets a future that is resolved when its write is on disk; a whole batch wakes the
loop once.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import monotonic
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError

from caisson import metrics
from caisson.errors import CaissonError
from caisson.store.batch import Append, Insert, Move, Note, Write, apply, chunk_of, drop_chunk, find_clash
from caisson.store.database import concerns_everyone, store_error
from caisson.store.errors import StoreError
from caisson.store.records import LogChunk

logger = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_WAITING = 100_000
MAX_WAITING_BYTES = 256 << 20
"""Bounds of the queue; beyond them a write is refused. A single larger one is let in when nothing else waits."""
MAX_BATCH = 1_000
MAX_BATCH_BYTES = 16 << 20
"""Bounds of a transaction, so that a flood of logs does not make its neighbours wait for long."""
FAILURE_COUNTS_S = 10
"""How long the store is unready after a failure if nothing is written meanwhile that would show whether it is over."""
PATIENCE_S = 0.01
"""How long a write nobody waits for may be held back, so that it shares the flush of one that somebody waits for."""
ROW_BYTES = 1_000
"""What a write takes besides its free-form parts, roughly."""


@dataclass(frozen=True, slots=True)
class _Call:
    """Something rare, which gets a transaction of its own."""

    task: Callable[[Connection], Any]


@dataclass(slots=True, eq=False)
class _Item:
    """What is to be done, who waits for it, and how it went."""

    work: Write | _Call
    size_bytes: int
    future: asyncio.Future[Any]
    result: Any = None
    error: CaissonError | None = None

    def resolve(self) -> None:
        """Tell who waits, on the loop's thread."""
        if self.future.done():  # cancelled: nobody waits any more
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
            # Looking at it spares a caller that ignores the future the loop's complaint that nobody did.
            self.future.exception()


class Writer:
    """Owns the connection that writes. `submit` and `call` are for the event loop it was made on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._held: list[_Item] = []
        self._release_timer: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._failure: tuple[CaissonError, float] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then end. What is submitted later is refused."""
        self._closed = True
        self._release()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def recent_failure(self) -> CaissonError | None:
        """Why writing failed a moment ago, unless it succeeded since."""
        failure = self._failure
        return failure[0] if failure is not None and monotonic() - failure[1] < FAILURE_COUNTS_S else None

    def submit(self, write: Write, *, patient: bool = False) -> asyncio.Future[None]:
        """Queue a write. The future may be ignored: failures are logged.

        A patient one is held back for a moment, unless another goes sooner and takes it along; the order is kept.
        """
        return self._enqueue(write, _size_bytes(write), patient)

    def call(self, task: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Queue anything else."""
        return self._enqueue(_Call(task), 0)

    def _enqueue(self, work: Write | _Call, size_bytes: int, patient: bool = False) -> asyncio.Future[Any]:
        item = _Item(work, size_bytes, self._loop.create_future())
        if self._closed:
            item.error = StoreError("the store is closed")
            item.resolve()
        elif self._waiting >= MAX_WAITING or (self._waiting and self._waiting_bytes + size_bytes > MAX_WAITING_BYTES):
            item.error = StoreError("the disk does not keep up")
            item.resolve()
        else:
            self._waiting += 1
            self._waiting_bytes += size_bytes
            self._held.append(item)
            if not patient:
                self._release()
            elif self._release_timer is None:
                self._release_timer = self._loop.call_later(PATIENCE_S, self._release)
        return item.future

    def _release(self) -> None:
        """Let the thread have what was held back."""
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        for item in self._held:
            self._queue.put(item)
        self._held.clear()

    def _resolve(self, batch: Sequence[_Item]) -> None:
        for item in batch:
            self._waiting -= 1
            self._waiting_bytes -= item.size_bytes
            item.resolve()

    def _run(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._next_batch()
            for is_call, items in groupby(batch, key=lambda item: isinstance(item.work, _Call)):
                if is_call:
                    for item in items:
                        self._commit([item])
                else:
                    self._commit(list(items))
            self._loop.call_soon_threadsafe(self._resolve, batch)

    def _next_batch(self) -> tuple[list[_Item], bool]:
        """What waits, at least one item; and whether the end was reached."""
        item = self._queue.get()
        batch: list[_Item] = []
        size_bytes = 0
        while item is not None:
            batch.append(item)
            size_bytes += item.size_bytes
            if len(batch) >= MAX_BATCH or size_bytes >= MAX_BATCH_BYTES or self._queue.empty():
                return batch, False
            item = self._queue.get()
        return batch, True

    def _commit(self, items: Sequence[_Item], *, replacing: bool = False) -> None:
        """Commit the items together; or find those at fault by halving, so that the others are committed."""
        try:
            with self._engine.begin() as connection:
                _carry_out(connection, items, replacing)
        except Exception as error:
            if len(items) > 1 and not concerns_everyone(error):
                logger.info("a batch is taken apart", count=len(items), error=_failure(error).detail)
                middle = len(items) // 2
                self._commit(items[:middle])
                self._commit(items[middle:])
            elif isinstance(error, IntegrityError) and not replacing and _chunks(items):
                self._commit(items, replacing=True)
            else:
                self._fail(items, error)
        else:
            self._failure = None
            if chunks := _chunks(items):
                metrics.log_lines_stored.inc(sum(len(chunk.lines) for chunk in chunks))

    def _fail(self, items: Sequence[_Item], error: Exception) -> None:
        for item in items:
            item.error = _failure(error)
        failure = _failure(error)
        if isinstance(error, OperationalError):
            self._failure = failure, monotonic()
        logger.error("writes failed", count=len(items), error=failure.detail)


def _failure(error: Exception) -> CaissonError:
    return error if isinstance(error, CaissonError) else store_error(error)


def _carry_out(connection: Connection, items: Sequence[_Item], replacing: bool) -> None:
    writes = []
    for item in items:
        if isinstance(item.work, _Call):
            item.result = item.work.task(connection)
            continue
        item.error = find_clash(connection, item.work.new) if isinstance(item.work, Insert) else None
        if item.error is None:
            writes.append(item.work)
    if replacing:
        for chunk in _chunks(items):
            drop_chunk(connection, chunk)
    if writes:
        apply(connection, writes)


def _chunks(items: Sequence[_Item]) -> list[LogChunk]:
    found = [chunk_of(item.work) for item in items if not isinstance(item.work, _Call)]
    return [chunk for chunk in found if chunk is not None]


def _size_bytes(write: Write) -> int:
    match write:
        case Insert(new):
            return ROW_BYTES + len(new.spec)
        case Move(workload, chunk):
            return ROW_BYTES + len(workload.output) + (_text_bytes(chunk) if chunk else 0)
        case Append(chunk):
            return ROW_BYTES + _text_bytes(chunk)
        case Note():
            return ROW_BYTES


def _text_bytes(chunk: LogChunk) -> int:
    return sum(len(line.line) for line in chunk.lines)
