"""Connections to the database, SQLite or PostgreSQL, and what its failures are called."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import stamina
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from caisson.store.errors import StoreError

READERS = 4
"""Read connections, and threads that use them."""
BUSY_TIMEOUT_MS = 5_000
"""How long another process may keep the database locked before a statement fails."""
WAL_LIMIT_BYTES = 64 << 20
WAL_PAGES = 1_000
"""How far SQLite's log grows before it is begun anew (its default for `wal_autocheckpoint`)."""
_DESCRIPTIONS = {
    "SQLITE_FULL": "the disk is full",
    "53100": "the disk is full",
    "SQLITE_BUSY": "the database is locked",
    "SQLITE_BUSY_SNAPSHOT": "the database is locked",
    "55P03": "the database is locked",
}


def writing_engine(url: str) -> Engine:
    """An engine with one connection, for the thread that writes. Raises StoreError."""
    engine = _create(url, pool_size=1, max_overflow=0)
    if engine.dialect.name == "sqlite":
        # A transaction that began as a reader cannot always become a writer, so it begins as one.
        event.listen(engine, "begin", _begin_immediate)
    return engine


def reading_engine(url: str) -> Engine:
    """An engine whose connections read, each statement seeing what was committed before it. Raises StoreError."""
    engine = _create(url, pool_size=READERS, max_overflow=0)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON").close())
    return engine


def lay_out_log(engine: Engine) -> None:
    """Give SQLite's log the size it will have anyway, once there are tables.

    To flush a file that did not grow is one write to the disk; one that grew is another, to the file system's journal.
    Raises StoreError.
    """
    if engine.dialect.name != "sqlite":
        return
    try:
        with engine.connect() as connection:
            raw = connection.connection.cursor()
            # Nothing of this matters after a power failure.
            raw.execute("PRAGMA synchronous = OFF")
            raw.execute("PRAGMA wal_autocheckpoint = 0")
            for step in (1, -1) * (WAL_PAGES // 2):
                # SQLite does not write a page that stays as it was.
                raw.execute(f"UPDATE totals SET value = value + {step:d}")  # noqa: S608 - a number of ours
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            raw.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            raw.close()
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise store_error(error) from error


def store_error(error: Exception) -> StoreError:
    """What to raise for a failure of the database. Statements and their values stay out of it: they hold code."""
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    message = _DESCRIPTIONS.get(_code(cause), "the database failed")
    # PostgreSQL's full text may quote the row.
    text = cause.diag.message_primary if hasattr(cause, "diag") else cause
    return StoreError(message, detail=f"{message}: {type(cause).__name__}: {text}")


def concerns_everyone(error: Exception) -> bool:
    """True if a failure has nothing to do with what was being written."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _code(error.orig) in _DESCRIPTIONS)


def _code(error: BaseException | None) -> str:
    """SQLite's name for it, or PostgreSQL's number."""
    return str(getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None))


def _create(url: str, **options: Any) -> Engine:
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
        if name != "postgresql" and not (name == "sqlite" and parsed.database):
            raise StoreError(f"the database must be a SQLite file or PostgreSQL, not {name}")
        # A server that was restarted is noticed before a statement fails for it.
        engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=name == "postgresql", **options)
        if name == "sqlite":
            path = Path(parsed.database or "")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # It holds code, environments and outputs. SQLite gives its other files the same mode.
            path.touch(mode=0o600)
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise StoreError("the database's address cannot be used", detail=f"cannot use the database: {error}") from error
    event.listen(engine, "connect", _prepare_sqlite if name == "sqlite" else _prepare_postgresql)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's own transaction control begins one before some statements only; here SQLAlchemy says when.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").close()
    for attempt in stamina.retry_context(_is_busy, attempts=None, timeout=BUSY_TIMEOUT_MS / 1000, wait_max=0.1):
        with attempt:
            # SQLite does not wait here when two make a new database theirs at once, whatever its timeout says.
            connection.execute("PRAGMA journal_mode = WAL").close()
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        f"journal_size_limit = {WAL_LIMIT_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _prepare_postgresql(connection: Any, _record: object) -> None:
    connection.execute("SET synchronous_commit = on")
    connection.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
    connection.commit()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
