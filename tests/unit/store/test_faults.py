"""When things break, what was acknowledged stays, what was not is told, and the store goes on afterwards."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text

from caisson.model import Status
from caisson.settings import Settings
from caisson.store.store import Store, StoreError, open_store
from tests.helpers.postgres import Postgres
from tests.helpers.workloads import NOON, accepted, chunk, ended, noise, running

ROOT = Path(__file__).parents[3]
LEAST = {"insert": Status.PENDING, "start": Status.RUNNING, "append": Status.RUNNING, "finish": Status.COMPLETED}
LINES = {"insert": 0, "start": 0, "append": 1, "finish": 2}
"""What each acknowledgement promises."""
LARGE = 100_000
ORDER = [Status.PENDING, Status.RUNNING, Status.COMPLETED]


def write_until_killed(url: str, acknowledged: int) -> list[list[str]]:
    """What a writing program said was acknowledged, until it was killed after about so many writes."""
    command = [sys.executable, "-m", "tests.helpers.store_writer", url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(acknowledged)]
        writer.kill()
        told += writer.stdout.readlines()
    return [line.split() for line in told]


@pytest.mark.parametrize("acknowledged", [1, 40, 400, 1000])
def test_a_killed_writer_loses_nothing_it_acknowledged(url: str, acknowledged: int) -> None:
    told = write_until_killed(url, acknowledged)
    assert len(told) >= acknowledged

    async def look() -> None:
        async with open_store(url) as store:
            for what, workload_id in told:
                stored = await store.get(workload_id)
                assert stored is not None
                assert ORDER.index(stored.workload.status) >= ORDER.index(LEAST[what])
                lines = [line.line for line in await store.log_lines(workload_id, -1, 10, 1000)]
                assert lines[: LINES[what]] == ["hello", "bye"][: LINES[what]]

    asyncio.run(look())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "caisson-test", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this user may not mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@contextmanager
def at_most_pages(count: int) -> Iterator[None]:
    """SQLite databases opened meanwhile are full at this size."""

    def limit(connection: object, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {count}").close()  # type: ignore[attr-defined]  # it is sqlite3's

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


async def fill(store: Store, characters: int) -> tuple[list[str], StoreError]:
    """Write workloads with logs of this size until it fails: the acknowledged ones, and the failure."""
    written: list[str] = []
    while True:
        try:
            written.append(await write_one(store, characters))
        except StoreError as error:
            return written, error


async def write_one(store: Store, characters: int) -> str:
    """A workload from acceptance to its end; its id."""
    new = accepted()
    await store.insert(new)
    await store.finish(ended(new.workload, Status.KILLED), chunk(new.workload.id, 0, noise(characters)))
    return new.workload.id


async def assert_all_there(store: Store, workload_ids: list[str], characters: int) -> None:
    for workload_id in workload_ids:
        stored = await store.get(workload_id)
        assert stored is not None
        assert stored.workload.status is Status.KILLED
        assert [line.line for line in await store.log_lines(workload_id, -1, 10, 1 << 20)] == [noise(characters)]


@pytest.mark.anyio
async def test_a_full_disk_is_told_and_survived(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    async with open_store(f"sqlite:///{small_disk / 'caisson.db'}") as store:
        large, error = await fill(store, LARGE)
        small, _ = await fill(store, 1)
        assert error.message == "the disk is full"
        assert await store.problem() == "the disk is full"
        await assert_all_there(store, large, LARGE)
        await assert_all_there(store, small, 1)
        ballast.unlink()
        large.append(await write_one(store, LARGE))
        assert await store.problem() is None
        await assert_all_there(store, large, LARGE)


@pytest.mark.anyio
async def test_a_full_database_is_made_room_in_by_a_sweep(tmp_path: Path) -> None:
    with at_most_pages(500):
        async with open_store(f"sqlite:///{tmp_path / 'caisson.db'}") as store:
            written, error = await fill(store, LARGE)
            assert error.message == "the disk is full"
            await assert_all_there(store, written, LARGE)
            swept = await store.sweep(Settings(retention_mb=1), NOON)
            assert swept.logs > 0
            written.append(await write_one(store, LARGE))
            await assert_all_there(store, written[swept.logs :], LARGE)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another program is in the middle of writing."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("LOCK TABLE workloads, totals IN EXCLUSIVE MODE"))
            yield
            connection.rollback()
    finally:
        engine.dispose()


@pytest.mark.anyio
async def test_a_locked_database_is_told_and_survived(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caisson.store.database.BUSY_TIMEOUT_MS", 50)
    async with open_store(url) as store:
        news = [accepted() for _ in range(5)]
        with locked(url):
            outcomes = await asyncio.gather(*(store.insert(new) for new in news), return_exceptions=True)
            assert [str(outcome) for outcome in outcomes] == ["the database is locked"] * 5
            assert await store.problem() == "the database is locked"
            assert await store.unfinished() == []
        await store.insert(news[0])
        assert await store.problem() is None


@pytest.mark.anyio
async def test_connections_that_broke_are_made_anew(postgres: Postgres) -> None:
    url = postgres.new_database()
    async with open_store(url) as store:
        new = accepted()
        await store.insert(new)
        assert await store.get(new.workload.id) is not None
        _disconnect_everyone(url)
        await store.start(running(new.workload))
        stored = await store.get(new.workload.id)
        assert stored is not None
        assert stored.workload.status is Status.RUNNING


def _disconnect_everyone(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    engine.dispose()


@pytest.mark.anyio
async def test_ten_thousand_pending_workloads_are_taken_up_in_order(store: Store) -> None:
    news = [accepted() for _ in range(10_000)]
    await asyncio.gather(*(store.insert(new) for new in news))
    assert [stored.workload.id for stored in await store.unfinished()] == [new.workload.id for new in news]
