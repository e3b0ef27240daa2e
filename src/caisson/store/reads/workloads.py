"""Finds workloads: one, a page of them, or all that are not finished."""

from __future__ import annotations

import base64
import binascii

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from caisson.answers import WorkloadPage
from caisson.errors import Refusal, Refused
from caisson.model import IsolationChoice, Workload, is_workload_id
from caisson.store.records import ListQuery, Stored
from caisson.store.tables import labels, requests, workloads

_decode = msgspec.json.Decoder(Workload).decode

_STORED = select(workloads.c.body, workloads.c.tenant, requests.c.spec, requests.c.archive, requests.c.attached).join(
    requests
)


def get(connection: Connection, workload_id: str, tenant: str | None) -> Stored | None:
    """One workload; None if there is none, or it is another tenant's."""
    query = _STORED.where(workloads.c.id == workload_id)
    if tenant is not None:
        query = query.where(workloads.c.tenant == tenant)
    row = connection.execute(query).one_or_none()
    return Stored(_decode(row.body), row.tenant, row.spec, row.archive, row.attached) if row else None


def unfinished(connection: Connection) -> list[Stored]:
    """All pending and running workloads, oldest first."""
    rows = connection.execute(_STORED.where(workloads.c.finished_at_us.is_(None)).order_by(workloads.c.id))
    return [Stored(_decode(row.body), row.tenant, row.spec, row.archive, row.attached) for row in rows]


def page(connection: Connection, query: ListQuery) -> WorkloadPage:
    """A page of workloads, newest first. Raises Refused (422) for a cursor that no page had."""
    wanted = _wanted(query)
    total = connection.scalar(select(func.count()).select_from(workloads).where(*wanted)) or 0
    if query.cursor is not None:
        wanted.append(workloads.c.id < decode_cursor(query.cursor))
    rows = connection.execute(
        select(workloads.c.id, workloads.c.body)
        .where(*wanted)
        .order_by(workloads.c.id.desc())
        .limit(query.limit + 1)
        .offset(query.offset)
    ).all()
    shown = rows[: query.limit]
    return WorkloadPage(
        workloads=[_decode(row.body) for row in shown],
        total=total,
        next_cursor=encode_cursor(shown[-1].id) if len(rows) > len(shown) else None,
        limit=query.limit,
        offset=query.offset,
    )


def _wanted(query: ListQuery) -> list[ColumnElement[bool]]:
    wanted = [workloads.c.tenant == query.tenant]
    if query.status is not None:
        wanted.append(workloads.c.status == query.status.value)
    if query.runtime is not None:
        wanted.append(workloads.c.runtime == query.runtime.value)
    if query.isolation is IsolationChoice.AUTO:
        wanted.append(workloads.c.isolation == query.isolation.value)
    elif query.isolation is not None:
        wanted.append(workloads.c.isolation_used == query.isolation.value)
    if query.label is not None:
        name, has_value, value = query.label.partition("=")
        labelled = select(labels.c.workload_id).where(labels.c.name == name)
        if has_value:
            labelled = labelled.where(labels.c.value == value)
        wanted.append(workloads.c.id.in_(labelled))
    return wanted


def encode_cursor(workload_id: str) -> str:
    """The id as what a page tells for getting the next one."""
    return base64.urlsafe_b64encode(workload_id.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The reverse. Raises Refused (422) for what no page told."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not is_workload_id(text):
        raise Refused(422, Refusal.INVALID_VALUE, "the cursor is not one that a page gave", member="cursor")
    return text
