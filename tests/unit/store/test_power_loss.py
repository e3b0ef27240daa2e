"""Power fails: whatever of the newest writes reached the disk, the database holds all that was acknowledged."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from caisson.store.records import ListQuery
from caisson.store.store import open_store
from tests.helpers.workloads import accepted, chunk, ended, noise, running

CUTS = 40


def whole(folder: Path) -> tuple[Path, Path]:
    return folder / "caisson.db", folder / "caisson.db-wal"


async def write(folder: Path, saved: Path) -> list[tuple[str, int]]:
    """Workloads in the order in which they were acknowledged, each with how much was on disk by then."""
    known: list[tuple[str, int]] = []
    database, log = whole(folder)
    async with open_store(f"sqlite:///{database}") as store:
        for number in range(30):
            new = accepted(code=noise(random.Random(number).randint(10, 5_000)))
            await store.insert(new)
            if number % 3:
                store.start(running(new.workload))
                await store.finish(ended(running(new.workload)), chunk(new.workload.id, 0, "a", "b"))
            known.append((new.workload.id, log.stat().st_size))
        # As the disk is now: closing the store would move everything into the database's own file.
        for path in whole(folder):
            shutil.copy(path, saved / path.name)
    return known


@pytest.mark.anyio
async def test_a_log_that_is_cut_anywhere_or_ends_in_garbage_loses_nothing_acknowledged(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (tmp_path / "live").mkdir()
    known = await write(tmp_path / "live", saved)
    database, log = whole(saved)
    content, chance = log.read_bytes(), random.Random(1)
    for number in range(CUTS):
        cut = chance.randrange(len(content) + 1)
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(database, folder)
        torn = chance.randbytes(chance.randrange(5_000)) if number % 2 else b""
        await asyncio.to_thread((folder / log.name).write_bytes, content[:cut] + torn)
        async with open_store(f"sqlite:///{folder / database.name}") as store:
            assert await store.problem() is None
            page = await store.list(ListQuery(tenant="default", limit=100))
            found = [workload.id for workload in reversed(page.workloads)]
            # What is there is the beginning of what was written, without a gap.
            assert found == [workload_id for workload_id, _ in known][: len(found)]
            assert len(found) >= sum(size <= cut for _, size in known)
            for workload in page.workloads:
                lines = await store.log_lines(workload.id, -1, 10, 1_000)
                assert [line.line for line in lines] == (["a", "b"] if workload.status.terminal else [])
