"""Brings a database to the tables of this version, at every start, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from caisson.store.database import store_error
from caisson.store.errors import StoreError

_LOCK_ID = 0xCA1550
"""Any number, as long as every Caisson uses the same."""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate, unless another process just did. Raises StoreError, and then nothing has changed."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
            config.attributes["connection"] = connection
            _check_known(connection, ScriptDirectory.from_config(config))
            command.upgrade(config, revision)
    except SQLAlchemyError as error:
        raise store_error(error) from error


def present_revision(connection: Connection) -> str | None:
    """The revision a database is at; None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _check_known(connection: Connection, scripts: ScriptDirectory) -> None:
    revision = present_revision(connection)
    try:
        scripts.get_revision(revision or "base")
    except CommandError as error:
        raise StoreError(f"the database was made by a newer version of Caisson (its revision is {revision})") from error
