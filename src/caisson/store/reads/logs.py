"""Reads stored log lines back, page by page."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from caisson.model import LogLine
from caisson.store import chunks
from caisson.store.tables import log_chunks

BUFFERED_CHUNKS = 64
"""Most rows that PostgreSQL sends ahead of being read."""


def lines(connection: Connection, workload_id: str, after: int, limit: int, max_bytes: int) -> list[LogLine]:
    """Lines with a number above `after`: at most `limit`, and no more once they amount to `max_bytes` characters.

    None only if there is none: a single line larger than `max_bytes` is a page of its own.
    """
    own = log_chunks.c.workload_id == workload_id
    first = select(func.max(log_chunks.c.first_seq)).where(own, log_chunks.c.first_seq <= after + 1).scalar_subquery()
    query = (
        select(log_chunks.c.first_seq, log_chunks.c.data)
        .where(own, log_chunks.c.first_seq >= func.coalesce(first, 0))
        .order_by(log_chunks.c.first_seq)
    )
    found: list[LogLine] = []
    size = 0
    with connection.execution_options(stream_results=True, max_row_buffer=BUFFERED_CHUNKS).execute(query) as rows:
        for first_seq, data in rows:
            for line in chunks.decode(data, first_seq):
                if line.seq <= after:
                    continue
                size += len(line.line)
                if found and (len(found) >= limit or size > max_bytes):
                    return found
                found.append(line)
    return found


def length(connection: Connection, workload_id: str) -> int:
    """How many lines a workload has: the number of the next one."""
    row = connection.execute(
        select(log_chunks.c.first_seq, log_chunks.c.data)
        .where(log_chunks.c.workload_id == workload_id)
        .order_by(log_chunks.c.first_seq.desc())
        .limit(1)
    ).one_or_none()
    return 0 if row is None else int(row.first_seq) + sum(1 for _ in chunks.decode(row.data, row.first_seq))
