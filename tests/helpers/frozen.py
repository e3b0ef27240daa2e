"""Databases as earlier revisions left them, kept as SQL, to be migrated by tests.

`python -m tests.helpers.frozen`, run once with each new revision, writes the files of the newest.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, make_url

from caisson.model import LogLine
from caisson.store.migrate import NEWEST
from caisson.store.records import ApiKey, KeyScope, NewWorkload, Stored
from caisson.store.store import open_store
from tests.helpers.postgres import SUPERUSER, Postgres, running_postgres
from tests.helpers.workloads import NOON, accepted, chunk, ended, running

REVISIONS = Path(__file__).parents[1] / "unit" / "store" / "revisions"
FINISHED_ID, PENDING_ID = "01KAA000000000000000000000", "01KAA000000000000000000001"


@dataclass(frozen=True, slots=True)
class Kept:
    """A workload that a frozen database holds."""

    stored: Stored
    lines: tuple[LogLine, ...]


def contents() -> tuple[Kept, Kept]:
    """What every frozen database holds: a finished workload and a pending one."""
    first, second = _new_workloads()
    end = ended(running(first.workload))
    return (
        Kept(Stored(end, "default", first.spec, None, True), chunk(FINISHED_ID, 0, "hello", "wörld").lines),
        Kept(Stored(second.workload, "default", second.spec, "a.tar.gz", False), ()),
    )


def load(url: str, revision: str) -> None:
    """Make an empty database what this revision left."""
    parsed = make_url(url)
    script = (REVISIONS / f"{revision}.{parsed.get_backend_name()}.sql").read_text()
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(parsed.database or "")) as connection:
            connection.executescript(script)
    else:
        engine = create_engine(url)
        with engine.begin() as connected:
            connected.exec_driver_sql(script)
        engine.dispose()


def _new_workloads() -> tuple[NewWorkload, NewWorkload]:
    return (
        accepted(id=FINISHED_ID, attached=True, labels={"team": "a"}),
        accepted(id=PENDING_ID, archive="a.tar.gz", idempotency=("key", "fingerprint")),
    )


async def _fill(url: str) -> None:
    async with open_store(url) as store:
        first, second = _new_workloads()
        store.insert(first)
        store.start(running(first.workload))
        store.append(chunk(FINISHED_ID, 0, "hello"))
        store.finish(ended(running(first.workload)), chunk(FINISHED_ID, 1, "wörld"))
        await store.insert(second)
        await store.create_key(ApiKey("0" * 64, "cai_0001", "default", frozenset({KeyScope.READ}), NOON))


def _freeze_sqlite(path: Path) -> str:
    asyncio.run(_fill(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


def _freeze_postgresql(server: Postgres) -> str:
    url = server.new_database()
    asyncio.run(_fill(url))
    command: list[str | Path] = [server.programs / "pg_dump", "--inserts", "--no-owner", "-h", server.folder]
    command += ["-U", SUPERUSER, make_url(url).database or ""]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Only what every version of PostgreSQL understands, and without what is for psql.
    passing = ("--", "SET ", "SELECT ", "\\")
    lines = [line for line in dump.splitlines() if line and not line.startswith(passing)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files of the newest revision."""
    REVISIONS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        (REVISIONS / f"{NEWEST}.sqlite.sql").write_text(_freeze_sqlite(Path(folder) / "caisson.db"))
        (REVISIONS / f"{NEWEST}.postgresql.sql").write_text(_freeze_postgresql(server))


if __name__ == "__main__":
    main()
