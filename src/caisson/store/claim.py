"""One server for each database: a second would take the first one's workloads for those of a dead server."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from caisson.store.database import store_error
from caisson.store.errors import StoreError

PATIENCE_S = 2.0
"""How long the server before this one may take to let go."""
_LOOK_EVERY_S = 0.1
_NUMBER = 0x6361_6973_736F_6E00
"""What PostgreSQL knows the claim by, in each database apart ("caisson" in ASCII)."""
_NOTICE = ("tcp_keepalives_idle = 10", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3")
"""So PostgreSQL notices within half a minute that a server's machine is gone, and not after two hours."""


class DatabaseInUse(StoreError):
    """Another server has the database."""


@asynccontextmanager
async def only_server(url: str) -> AsyncIterator[None]:
    """Have the database at a SQLAlchemy URL alone, among servers; commands may use it all the same.

    Raises DatabaseInUse, or StoreError where the database cannot be reached.
    """
    with ExitStack() as held:
        claim = await asyncio.to_thread(_claim_of, url, held)
        give_up_at = monotonic() + PATIENCE_S
        while not await asyncio.to_thread(claim):
            if monotonic() > give_up_at:
                raise DatabaseInUse("another server uses the database")
            await asyncio.sleep(_LOOK_EVERY_S)
        yield


def _claim_of(url: str, held: ExitStack) -> Callable[[], bool]:
    """What tries to take the database once. What it takes is given back with `held`, or with this process."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "postgresql":
            # Whatever else cannot be used is told when it is opened.
            return _file_claim(Path(f"{parsed.database}.lock"), held) if parsed.database else lambda: True
        engine = create_engine(parsed, hide_parameters=True, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        held.callback(engine.dispose)
        connection = held.enter_context(engine.connect())
        for setting in _NOTICE:
            connection.execute(text(f"SET {setting}"))
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise store_error(error) from error

    def take() -> bool:
        try:
            return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _NUMBER}))
        except SQLAlchemyError as error:
            raise store_error(error) from error

    return take


def _file_claim(path: Path, held: ExitStack) -> Callable[[], bool]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not the database's own file: to close it would undo the locks that SQLite holds on it.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held.callback(os.close, lock)

    def take() -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    return take
