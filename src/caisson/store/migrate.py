"""Brings a database to the tables of this version, at every start, in one transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from caisson.store.database import store_error
from caisson.store.errors import StoreError

NEWEST = "0003"
"""The revision that `tables` describes."""
KNOWN = frozenset({"0001", "0002", NEWEST})
_LOCK_ID = 0xCA1550
"""Any number, as long as every Caisson uses the same."""


def migrate(engine: Engine, revision: str = NEWEST) -> None:
    """Upgrade the database to a revision. Raises StoreError, and then nothing has changed."""
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # SQLite's transaction keeps other processes out by itself.
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
            present = present_revision(connection)
            if present != revision:
                _upgrade(connection, present, revision)
    except SQLAlchemyError as error:
        raise store_error(error) from error


def present_revision(connection: Connection) -> str | None:
    """The revision a database is at; None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection, present: str | None, revision: str) -> None:
    # Imported where it is needed, once for each database: it would take 10 MB of every server's memory.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    # The file's syntax, in which `%` begins a reference, applies here too.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise StoreError(f"the database was made by a newer version of Caisson (its revision is {present})")
    command.upgrade(config, revision)
