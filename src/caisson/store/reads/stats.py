"""Counts workloads, and gathers the figures of finished ones."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import Connection, func, select

from caisson.answers import Counts
from caisson.model import Isolation, Runtime, StartKind, Status
from caisson.store.instants import from_us, to_us
from caisson.store.records import Finished
from caisson.store.tables import workloads


def counts(connection: Connection, tenant: str) -> Counts:
    """How many workloads a tenant has, by each property; zero where there is none."""
    columns = (workloads.c.status, workloads.c.isolation_used, workloads.c.runtime)
    rows = connection.execute(select(*columns, func.count()).where(workloads.c.tenant == tenant).group_by(*columns))
    by_status, by_isolation, by_runtime = Counter[str](), Counter[str](), Counter[str]()
    for status, isolation, runtime, count in rows:
        by_status[status] += count
        by_runtime[runtime] += count
        if isolation is not None:
            by_isolation[isolation] += count
    return Counts(
        status={status: by_status[status] for status in Status},
        isolation={isolation: by_isolation[isolation] for isolation in Isolation},
        runtime={runtime: by_runtime[runtime] for runtime in Runtime},
    )


def finished_since(connection: Connection, tenant: str, since: datetime, limit: int) -> list[Finished]:
    """The workloads that finished since then and had a sandbox, newest first, at most `limit`."""
    columns = workloads.c
    rows = connection.execute(
        select(columns.status, columns.isolation_used, columns.start, columns.finished_at_us, columns.total_ms)
        .where(
            columns.tenant == tenant,
            columns.finished_at_us >= to_us(since),
            columns.isolation_used.is_not(None),
            columns.start.is_not(None),
            columns.total_ms.is_not(None),
        )
        .order_by(columns.finished_at_us.desc())
        .limit(limit)
    )
    return [
        Finished(Status(status), Isolation(isolation), StartKind(start), from_us(finished_at_us), total_ms)
        for status, isolation, start, finished_at_us, total_ms in rows
    ]
