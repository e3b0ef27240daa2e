"""Benchmarks in the database: the head as one JSON text, the results as another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, func, insert, select, update

from caisson.benchmark import (
    Benchmark,
    BenchmarkHead,
    BenchmarkPage,
    BenchmarkResult,
    BenchmarkStatus,
)
from caisson.store.instants import to_us
from caisson.store.reads.workloads import decode_cursor, encode_cursor
from caisson.store.tables import benchmarks

_encode = msgspec.json.Encoder().encode
_head = msgspec.json.Decoder(BenchmarkHead).decode
_results = msgspec.json.Decoder(list[BenchmarkResult]).decode


def create(connection: Connection, head: BenchmarkHead, tenant: str) -> None:
    """Store one that begins."""
    connection.execute(
        insert(benchmarks).values(
            id=head.id,
            tenant=tenant,
            node_id=head.node_id,
            status=head.status.value,
            finished_at_us=None,
            head=_encode(head),
            results=b"[]",
        )
    )


def save(connection: Connection, head: BenchmarkHead, results: Sequence[BenchmarkResult] | None) -> None:
    """Store its present state, with its results if they are given."""
    values = {
        "status": head.status.value,
        "finished_at_us": to_us(head.finished_at) if head.finished_at else None,
        "head": _encode(head),
    }
    if results is not None:
        values["results"] = _encode(results)
    connection.execute(update(benchmarks).where(benchmarks.c.id == head.id).values(values))


def get(connection: Connection, benchmark_id: str, tenant: str) -> Benchmark | None:
    """One; None if there is none, or it is another tenant's."""
    row = connection.execute(
        select(benchmarks.c.head, benchmarks.c.results).where(
            benchmarks.c.id == benchmark_id, benchmarks.c.tenant == tenant
        )
    ).one_or_none()
    if row is None:
        return None
    head = _head(row.head)
    members = {name: getattr(head, name) for name in BenchmarkHead.__struct_fields__}
    return Benchmark(**members, results=_results(row.results))


def page(connection: Connection, tenant: str, limit: int, cursor: str | None) -> BenchmarkPage:
    """A page, newest first. Raises Refused (422) for a cursor that no page had."""
    wanted = [benchmarks.c.tenant == tenant]
    total = connection.scalar(select(func.count()).select_from(benchmarks).where(*wanted)) or 0
    if cursor is not None:
        wanted.append(benchmarks.c.id < decode_cursor(cursor))
    query = select(benchmarks.c.head).where(*wanted).order_by(benchmarks.c.id.desc()).limit(limit + 1)
    heads = [_head(text) for text in connection.scalars(query)]
    shown = heads[:limit]
    return BenchmarkPage(
        benchmarks=shown,
        total=total,
        next_cursor=encode_cursor(shown[-1].id) if len(heads) > len(shown) else None,
        limit=limit,
    )


def interrupted(connection: Connection, node_id: str, why: str, now: datetime) -> int:
    """Settle what a server of this node that is no more left running; returns how many."""
    running = benchmarks.c.status == BenchmarkStatus.RUNNING.value
    heads = connection.scalars(select(benchmarks.c.head).where(benchmarks.c.node_id == node_id, running)).all()
    for text in heads:
        head = _head(text)
        progress = replace(head.progress, program=None, runtime=None, subject=None, measure=None)
        ended = replace(head, status=BenchmarkStatus.FAILED, error=why, finished_at=now, progress=progress)
        save(connection, ended, None)
    return len(heads)
