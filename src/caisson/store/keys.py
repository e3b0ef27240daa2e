"""API keys in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from caisson.store.instants import from_us, to_us
from caisson.store.records import ApiKey, KeyScope
from caisson.store.tables import api_keys


def create(connection: Connection, key: ApiKey) -> None:
    """Store a new key."""
    connection.execute(
        insert(api_keys).values(
            digest=key.digest,
            prefix=key.prefix,
            tenant=key.tenant,
            scopes=" ".join(sorted(key.scopes)),
            created_at_us=to_us(key.created_at),
            expires_at_us=_to_us(key.expires_at),
            revoked_at_us=_to_us(key.revoked_at),
            last_used_at_us=_to_us(key.last_used_at),
        )
    )


def find(connection: Connection, digest: str) -> ApiKey | None:
    """The key with this digest, valid or not."""
    row = connection.execute(select(api_keys).where(api_keys.c.digest == digest)).one_or_none()
    return _key(row) if row else None


def every(connection: Connection) -> list[ApiKey]:
    """All keys, oldest first."""
    rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at_us, api_keys.c.prefix))
    return [_key(row) for row in rows]


def revoke(connection: Connection, prefix: str, now: datetime) -> bool:
    """End a key; False if there is none with this prefix that is not revoked already."""
    found = connection.execute(
        update(api_keys)
        .where(api_keys.c.prefix == prefix, api_keys.c.revoked_at_us.is_(None))
        .values(revoked_at_us=to_us(now))
    )
    return found.rowcount == 1


def touch(connection: Connection, digest: str, now: datetime) -> None:
    """Note that a key was used."""
    connection.execute(update(api_keys).where(api_keys.c.digest == digest).values(last_used_at_us=to_us(now)))


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        digest=row.digest,
        prefix=row.prefix,
        tenant=row.tenant,
        scopes=frozenset(KeyScope(scope) for scope in row.scopes.split()),
        created_at=from_us(row.created_at_us),
        expires_at=_from_us(row.expires_at_us),
        revoked_at=_from_us(row.revoked_at_us),
        last_used_at=_from_us(row.last_used_at_us),
    )


def _to_us(instant: datetime | None) -> int | None:
    return None if instant is None else to_us(instant)


def _from_us(instant_us: int | None) -> datetime | None:
    return None if instant_us is None else from_us(instant_us)
