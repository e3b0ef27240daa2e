"""What the writer does to the database: many writes as few statements, each for many rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Update, bindparam, delete, false, insert, or_, select, update

from caisson.model import TRANSITIONS, Status, Workload
from caisson.store import chunks, tables
from caisson.store.errors import IdempotencyClash, IllegalTransition
from caisson.store.instants import to_us
from caisson.store.records import LogChunk, NewWorkload
from caisson.store.tenants import note
from caisson.tenants import AuditEntry

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Insert:
    """Store a workload on acceptance."""

    new: NewWorkload


@dataclass(frozen=True, slots=True)
class Move:
    """Store a workload's next status with all it brings, and the last of its log with it."""

    workload: Workload
    chunk: LogChunk | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """Store log lines."""

    chunk: LogChunk


@dataclass(frozen=True, slots=True)
class Note:
    """Add to the audit log."""

    entry: AuditEntry


Write = Insert | Move | Append | Note


def chunk_of(write: Write) -> LogChunk | None:
    """The log lines that a write brings."""
    return write.chunk if isinstance(write, Move | Append) else None


@dataclass(slots=True)
class Change:
    """All that a batch does to one workload: the statuses it goes through, of which only the last is stored."""

    new: NewWorkload | None = None
    moves: list[Workload] = field(default_factory=list)
    chunks: list[LogChunk] = field(default_factory=list)


class Contradiction(Exception):
    """Writes that cannot be folded into one change of a workload; each on its own has an outcome."""


def fold(writes: Iterable[Write]) -> dict[str, Change]:
    """Writes gathered by workload, in their order. Raises Contradiction."""
    changes: defaultdict[str, Change] = defaultdict(Change)
    for write in writes:
        match write:
            case Note():
                pass  # of no workload
            case Insert(new):
                if new.workload.id in changes:
                    raise Contradiction(f"workload {new.workload.id} was written before it was inserted")
                changes[new.workload.id].new = new
            case Append(chunk):
                changes[chunk.workload_id].chunks.append(chunk)
            case Move(workload, chunk):
                change = changes[workload.id]
                _check_move(change, workload)
                change.moves.append(workload)
                if chunk is not None:
                    change.chunks.append(chunk)
    return changes


def _check_move(change: Change, workload: Workload) -> None:
    if change.moves:
        present = change.moves[-1].status
    elif change.new is not None:
        present = change.new.workload.status
    else:
        return
    if workload.status not in TRANSITIONS[present]:
        raise Contradiction(f"workload {workload.id} was to go from {present} to {workload.status}")


def apply(connection: Connection, writes: Sequence[Write]) -> None:
    """Carry out the writes within a transaction; none of them is carried out if this raises."""
    changes = fold(writes)
    _insert(connection, [(change, change.new) for change in changes.values() if change.new is not None])
    _move(connection, [change.moves for change in changes.values() if change.new is None and change.moves])
    _append(connection, [chunk for change in changes.values() for chunk in change.chunks])
    note(connection, [write.entry for write in writes if isinstance(write, Note)])


def begin_anew(connection: Connection, workload: Workload) -> None:
    """Store the present state of a running workload. Raises IllegalTransition if it is not running."""
    table = tables.workloads
    changed = connection.execute(
        update(table)
        .where(table.c.id == workload.id, table.c.status == Status.RUNNING.value)
        .values(**_state(workload))
    )
    if changed.rowcount != 1:
        status = connection.scalar(select(table.c.status).where(table.c.id == workload.id))
        raise IllegalTransition(workload.id, Status(status) if status else None, Status.RUNNING)


def find_clash(connection: Connection, new: NewWorkload) -> IdempotencyClash | None:
    """The clash of a workload's idempotency key with one that is remembered."""
    if new.idempotency is None:
        return None
    key, fingerprint = new.idempotency
    known = tables.idempotency_keys
    found = connection.execute(
        select(known.c.workload_id, known.c.fingerprint).where(known.c.tenant == new.tenant, known.c.key == key)
    ).one_or_none()
    return IdempotencyClash(found.workload_id, same_request=found.fingerprint == fingerprint) if found else None


def drop_chunk(connection: Connection, chunk: LogChunk) -> None:
    """Remove what is stored under a chunk's number, for one whose commit succeeded without our being told."""
    stored = tables.log_chunks
    same = (stored.c.workload_id == chunk.workload_id) & (stored.c.first_seq == chunk.first_seq)
    data = connection.scalar(select(stored.c.data).where(same))
    if data is not None:
        connection.execute(delete(stored).where(same))
        add_log_bytes(connection, -len(data))


def add_log_bytes(connection: Connection, count: int) -> None:
    """Keep the sum of all log data true."""
    connection.execute(_ADD_LOG_BYTES, {"count": count})


_encode = msgspec.json.Encoder().encode

_INSERT_WORKLOADS = insert(tables.workloads)
_INSERT_REQUESTS = insert(tables.requests)
_INSERT_LABELS = insert(tables.labels)
_INSERT_KEYS = insert(tables.idempotency_keys)
_INSERT_CHUNKS = insert(tables.log_chunks)
_ADD_LOG_BYTES = (
    update(tables.totals)
    .where(tables.totals.c.name == "log_bytes")
    .values(value=tables.totals.c.value + bindparam("count"))
)


def _move_statement(target: Status) -> Update:
    """Moves a workload whose present status allows `target` as the next."""
    table = tables.workloads
    # Not `in_`: its list is expanded at each execution, which SQLAlchemy does not do for many rows at once.
    allowed = or_(false(), *(table.c.status == status.value for status in Status if target in TRANSITIONS[status]))
    return (
        update(table)
        .where(table.c.id == bindparam("workload"), allowed)
        .values({name: bindparam(name) for name in ("status", "start", "finished_at_us", "total_ms", "cpu_ms", "body")})
    )


_MOVES = {status: _move_statement(status) for status in Status}


def _state(workload: Workload) -> Row:
    """The columns that change with the status."""
    return {
        "status": workload.status.value,
        "start": workload.start.value if workload.start else None,
        "finished_at_us": to_us(workload.finished_at) if workload.finished_at else None,
        "total_ms": workload.timings.total_ms,
        "cpu_ms": workload.usage.cpu_ms,
        "body": _encode(workload),
    }


def _insert(connection: Connection, inserted: Sequence[tuple[Change, NewWorkload]]) -> None:
    if not inserted:
        return
    rows, requests, labels, keys = [], [], [], []
    for change, new in inserted:
        workload = change.moves[-1] if change.moves else new.workload
        rows.append(
            _state(workload)
            | {
                "id": workload.id,
                "tenant": new.tenant,
                "runtime": workload.runtime.value,
                "isolation": workload.isolation.value,
                "isolation_used": workload.isolation_used.value if workload.isolation_used else None,
            }
        )
        requests.append(
            {"workload_id": workload.id, "spec": new.spec, "archive": new.archive, "attached": new.attached}
        )
        labels += [{"workload_id": workload.id, "name": n, "value": v} for n, v in workload.labels.items()]
        if new.idempotency is not None:
            keys.append(_key_row(new, *new.idempotency))
    connection.execute(_INSERT_WORKLOADS, rows)
    connection.execute(_INSERT_REQUESTS, requests)
    if labels:
        connection.execute(_INSERT_LABELS, labels)
    if keys:
        connection.execute(_INSERT_KEYS, keys)


def _key_row(new: NewWorkload, key: str, fingerprint: str) -> Row:
    return {
        "tenant": new.tenant,
        "key": key,
        "fingerprint": fingerprint,
        "workload_id": new.workload.id,
        "created_at_us": to_us(new.workload.created_at),
    }


def _move(connection: Connection, moved: Sequence[list[Workload]]) -> None:
    # The first step decides from where it may begin; the further ones were checked against it.
    by_first_step: defaultdict[Status, list[list[Workload]]] = defaultdict(list)
    for moves in moved:
        by_first_step[moves[0].status].append(moves)
    for first_step, alike in by_first_step.items():
        rows = [{"workload": moves[-1].id, **_state(moves[-1])} for moves in alike]
        if connection.execute(_MOVES[first_step], rows).rowcount != len(rows):
            _explain(connection, first_step, alike)


def _explain(connection: Connection, step: Status, moved: Sequence[list[Workload]]) -> None:
    """Raise IllegalTransition for a workload that was not moved; the others may have been, in this transaction."""
    table = tables.workloads
    for *earlier, workload in moved:
        found = connection.execute(select(table.c.status, table.c.body).where(table.c.id == workload.id)).one_or_none()
        # The very same state was stored before if a commit succeeded without our being told, as when PostgreSQL's
        # connection breaks at that moment and the caller tries again. Of several steps each is asked for by itself.
        if earlier or found is None or found.body != _encode(workload):
            raise IllegalTransition(workload.id, Status(found.status) if found else None, step)


def _append(connection: Connection, appended: Sequence[LogChunk]) -> None:
    if not appended:
        return
    rows: list[Row] = [
        {"workload_id": chunk.workload_id, "first_seq": chunk.first_seq, "data": chunks.encode(chunk.lines)}
        for chunk in appended
    ]
    connection.execute(_INSERT_CHUNKS, rows)
    add_log_bytes(connection, sum(len(row["data"]) for row in rows))
