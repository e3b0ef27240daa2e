"""The store: what the engine and `caisson keys` do with the database, from the event loop."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, literal, select
from sqlalchemy.exc import SQLAlchemyError

from caisson.answers import Counts, WorkloadPage
from caisson.benchmark import Benchmark, BenchmarkHead, BenchmarkPage, BenchmarkResult
from caisson.model import LogLine, Workload
from caisson.settings import Settings
from caisson.store import benchmarks, keys, retention, tenants
from caisson.store.batch import Append, Insert, Move, Note, begin_anew
from caisson.store.database import READERS, lay_out_log, reading_engine, store_error, writing_engine
from caisson.store.errors import IdempotencyClash, IllegalTransition, StoreError
from caisson.store.migrate import migrate
from caisson.store.reads import logs, stats, workloads
from caisson.store.records import ApiKey, Finished, ListQuery, LogChunk, NewWorkload, Stored, Swept
from caisson.store.threads import standing_threads
from caisson.store.writer import Writer
from caisson.tenants import AuditEntry, AuditPage, TenantPolicy

__all__ = ["IdempotencyClash", "IllegalTransition", "Store", "StoreError", "open_store"]

P = ParamSpec("P")
T = TypeVar("T")

FIGURES = 20_000
"""Most finished workloads that statistics are made from."""


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """The store at a SQLAlchemy URL, migrated to this version. Raises StoreError."""
    writing, reading = writing_engine(url), reading_engine(url)
    pool = standing_threads(READERS, "store-reader")
    try:
        await asyncio.to_thread(migrate, writing)
        await asyncio.to_thread(lay_out_log, writing)
        writer = Writer(writing)
        writer.start()
        try:
            yield Store(writer, reading, pool)
        finally:
            await writer.close()
    finally:
        pool.shutdown()
        reading.dispose()
        writing.dispose()


class Store:
    """Workloads, their logs, and keys.

    Writes are queued in the order of the calls, at once; what they return resolves when they are on disk, and may be
    ignored. They raise StoreError there, as reads do.
    """

    def __init__(self, writer: Writer, reading: Engine, pool: ThreadPoolExecutor) -> None:
        self._writer = writer
        self._reading = reading
        self._pool = pool

    def insert(self, new: NewWorkload) -> Awaitable[None]:
        """Store an accepted workload; without hurry if nobody waits for that. Raises IdempotencyClash."""
        return self._writer.submit(Insert(new), patient=new.attached and new.idempotency is None)

    def start(self, workload: Workload, *, patient: bool = False) -> Awaitable[None]:
        """Store that a workload runs; without hurry if `patient`. Raises IllegalTransition."""
        return self._writer.submit(Move(workload), patient=patient)

    async def begin_anew(self, workload: Workload) -> None:
        """Store that a running workload was begun once more. Raises IllegalTransition if it is not running."""
        await self._writer.call(lambda connection: begin_anew(connection, workload))

    async def log_length(self, workload_id: str) -> int:
        """How many lines are stored: the number of the next one."""
        return await self._read(logs.length, workload_id)

    def append(self, chunk: LogChunk) -> Awaitable[None]:
        """Store log lines. What was stored under the same first number is replaced."""
        return self._writer.submit(Append(chunk))

    def finish(self, workload: Workload, chunk: LogChunk | None = None) -> Awaitable[None]:
        """Store a workload's end, and the last lines of its log with it. Raises IllegalTransition."""
        return self._writer.submit(Move(workload, chunk))

    async def get(self, workload_id: str, tenant: str | None = None) -> Stored | None:
        """One workload, of this tenant if one is given."""
        return await self._read(workloads.get, workload_id, tenant)

    async def list(self, query: ListQuery) -> WorkloadPage:
        """A page of workloads, newest first. Raises Refused (422) for a bad cursor."""
        return await self._read(workloads.page, query)

    async def unfinished(self) -> builtins.list[Stored]:
        """All pending and running workloads, oldest first."""
        return await self._read(workloads.unfinished)

    async def log_lines(self, workload_id: str, after: int, limit: int, max_bytes: int) -> builtins.list[LogLine]:
        """Stored lines with a number above `after`, as many as the bounds allow but at least one if there is one."""
        return await self._read(logs.lines, workload_id, after, limit, max_bytes)

    async def counts(self, tenant: str) -> Counts:
        """How many workloads a tenant has."""
        return await self._read(stats.counts, tenant)

    async def finished_since(self, tenant: str, since: datetime, limit: int = FIGURES) -> builtins.list[Finished]:
        """Figures of the newest finished workloads."""
        return await self._read(stats.finished_since, tenant, since, limit)

    async def sweep(self, settings: Settings, now: datetime | None = None) -> Swept:
        """Remove what is over its age or size, in steps between which other writes get their turn."""
        now = now or datetime.now(UTC)
        oldest_end = now - timedelta(days=settings.retention_days)
        oldest_key = now - timedelta(hours=settings.idempotency_hours)
        return Swept(
            workloads=await self._repeat(lambda connection: retention.remove_finished_before(connection, oldest_end)),
            logs=await self._repeat(
                lambda connection: retention.remove_logs_above(connection, settings.retention_mb << 20)
            ),
            idempotency_keys=await self._repeat(
                lambda connection: retention.remove_keys_before(connection, oldest_key)
            ),
            audit=await self._repeat(
                lambda connection: tenants.forget_before(
                    connection, now - timedelta(days=settings.audit_days), retention.STEP
                )
            ),
            benchmarks=await self._repeat(
                lambda connection: retention.remove_benchmarks_before(connection, oldest_end)
            ),
        )

    async def problem(self) -> str | None:
        """Why the store is of no use now, or None."""
        try:
            await self._read(lambda connection: connection.scalar(select(literal(1))))
        except StoreError as error:
            return error.message
        failure = self._writer.recent_failure()
        return failure.message if failure else None

    async def create_benchmark(self, head: BenchmarkHead, tenant: str) -> None:
        """Store a benchmark that begins."""
        await self._writer.call(lambda connection: benchmarks.create(connection, head, tenant))

    async def save_benchmark(self, head: BenchmarkHead, results: Sequence[BenchmarkResult]) -> None:
        """Store a benchmark's present state."""
        kept = tuple(results)
        await self._writer.call(lambda connection: benchmarks.save(connection, head, kept))

    async def get_benchmark(self, benchmark_id: str, tenant: str) -> Benchmark | None:
        """One benchmark of a tenant, as it was last saved."""
        return await self._read(benchmarks.get, benchmark_id, tenant)

    async def list_benchmarks(self, tenant: str, limit: int, cursor: str | None) -> BenchmarkPage:
        """A page of benchmarks, newest first. Raises Refused (422) for a bad cursor."""
        return await self._read(benchmarks.page, tenant, limit, cursor)

    async def benchmarks_interrupted(self, node_id: str, why: str, now: datetime) -> int:
        """Settle the benchmarks of a server of this node that is no more; returns how many."""
        return await self._writer.call(lambda connection: benchmarks.interrupted(connection, node_id, why, now))

    def note(self, entry: AuditEntry, *, patient: bool = False) -> Awaitable[None]:
        """Add to the audit log; without hurry if `patient`, with the next write that somebody waits for."""
        return self._writer.submit(Note(entry), patient=patient)

    async def noted(
        self,
        limit: int,
        before: int | None = None,
        tenant: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> AuditPage:
        """A page of the audit log, newest first."""
        return await self._read(tenants.noted, limit, before, {"tenant": tenant, "actor": actor, "action": action})

    async def put_tenant(self, name: str, policy: TenantPolicy | None) -> bool:
        """Set a tenant's policy, or remove it with None; False if there was none to remove."""
        return await self._writer.call(lambda connection: tenants.put(connection, name, policy))

    async def tenants(self) -> dict[str, TenantPolicy]:
        """Every policy there is, by the tenant's name."""
        return await self._read(tenants.policies)

    async def cpu_spent(self, since: datetime) -> builtins.list[tuple[str, int, float]]:
        """CPU milliseconds of the workloads that ended since then, by tenant and hour since 1970."""
        return await self._read(tenants.cpu_spent, since)

    async def create_key(self, key: ApiKey) -> None:
        """Store a new API key."""
        await self._writer.call(lambda connection: keys.create(connection, key))

    async def find_key(self, digest: str, now: datetime | None = None) -> ApiKey | None:
        """The API key with this digest if it may be used now."""
        key = await self._read(keys.find, digest)
        return key if key is not None and key.valid(now or datetime.now(UTC)) else None

    async def list_keys(self) -> builtins.list[ApiKey]:
        """All API keys, oldest first, also those that are no longer valid."""
        return await self._read(keys.every)

    async def revoke_key(self, prefix: str, now: datetime | None = None) -> bool:
        """End an API key at once; False if there is no such key, or it was revoked already."""
        instant = now or datetime.now(UTC)
        return await self._writer.call(lambda connection: keys.revoke(connection, prefix, instant))

    async def touch_key(self, digest: str, now: datetime | None = None) -> None:
        """Note that an API key was used. A write each time: callers do it now and then."""
        instant = now or datetime.now(UTC)
        await self._writer.call(lambda connection: keys.touch(connection, digest, instant))

    async def _repeat(self, step: Callable[[Connection], int]) -> int:
        total = 0
        while removed := await self._writer.call(step):
            total += removed
        return total

    async def _read(self, read: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def run() -> T:
            try:
                with self._reading.connect() as connection:
                    return read(connection, *args, **kwargs)
            except SQLAlchemyError as error:
                raise store_error(error) from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)
