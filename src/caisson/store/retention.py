"""Removes what is too old or too much, in steps small enough for the writer to do between its batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from caisson.store.batch import add_log_bytes
from caisson.store.instants import to_us
from caisson.store.tables import benchmarks, idempotency_keys, log_chunks, totals, workloads

STEP = 25
"""Workloads, or keys, that one step removes: a few milliseconds for which other writes wait."""


def remove_finished_before(connection: Connection, instant: datetime) -> int:
    """Remove some workloads that finished before then, with all that belongs to them; returns how many."""
    query = (
        select(workloads.c.id)
        .where(workloads.c.finished_at_us < to_us(instant))
        .order_by(workloads.c.finished_at_us)
        .limit(STEP)
    )
    ids = connection.scalars(query).all()
    _remove_logs(connection, ids)
    connection.execute(delete(workloads).where(workloads.c.id.in_(ids)))
    return len(ids)


def remove_logs_above(connection: Connection, max_bytes: int) -> int:
    """Remove the logs of some of the oldest finished workloads if all logs are above `max_bytes`; returns how many."""
    excess = (connection.scalar(select(totals.c.value).where(totals.c.name == "log_bytes")) or 0) - max_bytes
    if excess <= 0:
        return 0
    query = (
        select(log_chunks.c.workload_id, func.sum(func.length(log_chunks.c.data)).label("size"))
        .join(workloads)
        .where(workloads.c.finished_at_us.is_not(None))
        .group_by(log_chunks.c.workload_id)
        .order_by(log_chunks.c.workload_id)
        .limit(STEP)
    )
    ids = []
    for workload_id, size in connection.execute(query):
        ids.append(workload_id)
        excess -= size
        if excess <= 0:
            break
    _remove_logs(connection, ids)
    return len(ids)


def remove_keys_before(connection: Connection, instant: datetime) -> int:
    """Remove some idempotency keys that were first used before then; returns how many."""
    table = idempotency_keys
    query = (
        select(table.c.tenant, table.c.key)
        .where(table.c.created_at_us < to_us(instant))
        .order_by(table.c.created_at_us)
        .limit(STEP)
    )
    found = connection.execute(query).all()
    for tenant, key in found:
        connection.execute(delete(table).where(table.c.tenant == tenant, table.c.key == key))
    return len(found)


def remove_benchmarks_before(connection: Connection, instant: datetime) -> int:
    """Remove some benchmarks that ended before then; returns how many."""
    query = select(benchmarks.c.id).where(benchmarks.c.finished_at_us < to_us(instant)).limit(STEP)
    ids = connection.scalars(query).all()
    connection.execute(delete(benchmarks).where(benchmarks.c.id.in_(ids)))
    return len(ids)


def _remove_logs(connection: Connection, workload_ids: Sequence[str]) -> None:
    own = log_chunks.c.workload_id.in_(workload_ids)
    size = connection.scalar(select(func.coalesce(func.sum(func.length(log_chunks.c.data)), 0)).where(own))
    connection.execute(delete(log_chunks).where(own))
    add_log_bytes(connection, -int(size or 0))
