"""Tenants' policies and the audit log in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from caisson.store.instants import from_us, to_us
from caisson.store.tables import audit, tenants, workloads
from caisson.tenants import AuditEntry, AuditPage, AuditRow, TenantPolicy

HOUR_US = 3_600_000_000
_decode = msgspec.json.Decoder(TenantPolicy).decode
_INSERT = insert(audit)


def put(connection: Connection, name: str, policy: TenantPolicy | None) -> bool:
    """Set a tenant's policy, or remove it with None; False if there was none to remove."""
    removed = connection.execute(delete(tenants).where(tenants.c.name == name)).rowcount > 0
    if policy is None:
        return removed
    connection.execute(insert(tenants).values(name=name, policy=msgspec.json.encode(policy)))
    return True


def policies(connection: Connection) -> dict[str, TenantPolicy]:
    """Every policy there is, by the tenant's name."""
    rows = connection.execute(select(tenants).order_by(tenants.c.name))
    return {row.name: _decode(row.policy) for row in rows}


def cpu_spent(connection: Connection, since: datetime) -> list[tuple[str, int, float]]:
    """CPU milliseconds of the workloads that ended since then, by tenant and hour since 1970."""
    # Integer division, which both databases do alike for integers.
    hour = (workloads.c.finished_at_us - workloads.c.finished_at_us % HOUR_US) / HOUR_US
    rows = connection.execute(
        select(workloads.c.tenant, hour, func.sum(workloads.c.cpu_ms))
        .where(workloads.c.finished_at_us >= to_us(since), workloads.c.cpu_ms.is_not(None))
        .group_by(workloads.c.tenant, hour)
    )
    return [(tenant, int(hour), float(cpu_ms)) for tenant, hour, cpu_ms in rows]


def note(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add to the audit log."""
    if entries:
        connection.execute(_INSERT, [_row(entry) for entry in entries])


def noted(connection: Connection, limit: int, before: int | None, equal: Mapping[str, str | None]) -> AuditPage:
    """A page of the audit log, newest first, of what has these values in its columns."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(audit.c.seq < before)
    for column, value in equal.items():
        if value is not None:
            query = query.where(audit.c[column] == value)
    rows = connection.execute(query).all()
    entries = [
        AuditRow(
            seq=row.seq,
            at=from_us(row.at_us),
            tenant=row.tenant,
            actor=row.actor,
            action=row.action,
            target=row.target,
            detail=row.detail,
        )
        for row in rows[:limit]
    ]
    return AuditPage(entries=entries, next_before=entries[-1].seq if len(rows) > limit else None)


def forget_before(connection: Connection, instant: datetime, limit: int) -> int:
    """Remove some entries that are older; returns how many."""
    old = select(audit.c.seq).where(audit.c.at_us < to_us(instant)).order_by(audit.c.seq).limit(limit)
    seqs = connection.scalars(old).all()
    connection.execute(delete(audit).where(audit.c.seq.in_(seqs)))
    return len(seqs)


def _row(entry: AuditEntry) -> dict[str, str | int | None]:
    return {
        "at_us": to_us(entry.at),
        "tenant": entry.tenant,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    }
