"""A database of any earlier revision becomes one of this version, with everything in it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from caisson import store as package
from caisson.model import Status
from caisson.store import tables
from caisson.store.database import writing_engine
from caisson.store.migrate import KNOWN, NEWEST, migrate, present_revision
from caisson.store.records import ListQuery
from caisson.store.store import StoreError, open_store
from tests.helpers.frozen import REVISIONS, contents, load
from tests.helpers.workloads import accepted

SCRIPTS = ScriptDirectory(Path(package.__file__).parent / "migrations")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The database, without a store on it."""
    engine = writing_engine(url)
    yield engine
    engine.dispose()


def test_the_tables_are_what_the_newest_revision_makes(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        checks = {check["name"] for check in inspect(connection).get_check_constraints("workloads")}
    assert checks == {"finished_when_terminal"}


def test_the_newest_revision_is_the_one_a_start_migrates_to() -> None:
    assert SCRIPTS.get_heads() == [NEWEST]
    assert {script.revision for script in SCRIPTS.walk_revisions()} == KNOWN


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_revision_has_its_frozen_database(database: str) -> None:
    frozen = {path.name.split(".")[0] for path in REVISIONS.glob(f"*.{database}.sql")}
    assert frozen == {script.revision for script in SCRIPTS.walk_revisions()}


@pytest.mark.anyio
@pytest.mark.parametrize("revision", [script.revision for script in SCRIPTS.walk_revisions()])
async def test_a_database_of_an_earlier_revision_keeps_everything(url: str, revision: str) -> None:
    load(url, revision)
    engine = writing_engine(url)
    with engine.connect() as connection:
        assert present_revision(connection) == revision
    async with open_store(url) as store:
        finished, pending = contents()
        for kept in (finished, pending):
            assert await store.get(kept.stored.workload.id) == kept.stored
            assert await store.log_lines(kept.stored.workload.id, -1, 10, 1000) == list(kept.lines)
        assert [stored.workload.status for stored in await store.unfinished()] == [Status.PENDING]
        assert (await store.list(ListQuery(tenant="default", label="team=a"))).total == 1
        assert [key.prefix for key in await store.list_keys()] == ["cai_0001"]
    with engine.connect() as connection:
        assert present_revision(connection) == NEWEST
    engine.dispose()


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE totals SET value = 7"))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT value FROM totals")) == 7


def test_servers_that_start_at_once_migrate_once(url: str) -> None:
    engines = [writing_engine(url) for _ in range(4)]
    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(migrate, engines))
    with engines[0].connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM totals")) == 1
    for engine in engines:
        engine.dispose()


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version"):
        migrate(engine)


def test_a_migration_that_fails_leaves_nothing_behind(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE api_keys (unexpected INTEGER)"))
    with pytest.raises(StoreError):
        migrate(engine)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["api_keys"]


@pytest.mark.anyio
async def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    async with open_store(f"sqlite:///{folder / 'caisson.db'}") as store:
        await store.insert(accepted())
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
            "caisson.db": 0o600,
            "caisson.db-wal": 0o600,
            "caisson.db-shm": 0o600,
        }


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad", ["nonsense", "mysql://localhost/x", "sqlite://", "sqlite:////proc/none/x.db", "postgresql://@/x?host=/none"]
)
async def test_an_address_that_cannot_be_used_is_told(bad: str) -> None:
    with pytest.raises(StoreError):
        async with open_store(bad):
            pass
