"""Removes what earlier runs of this node's server left behind, beside everything else that a start does."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import structlog

from caisson import metrics
from caisson.host.birthmark import begin_run, end_earlier, end_run
from caisson.host.network.slots import Slots
from caisson.model import Isolation
from caisson.sandbox.contract import Backend

logger = structlog.get_logger(__name__)

FINISH_S = 10.0
"""How long a server that stops goes on with it."""


@dataclass(frozen=True, slots=True)
class Left:
    """What earlier runs left, as far as it must be looked up before this one makes anything of its own."""

    marks: frozenset[str]
    files: tuple[Path, ...]


@contextmanager
def running(node_dir: Path) -> Iterator[Left]:
    """Begin a run: what is started bears its mark, and temporary files go to a folder of its own.

    Both are forgotten when the context is left without an error, that is, when nothing of it is left.
    """
    # Only one process at a time has this folder: drafts and temporary files in it are a dead one's.
    temporary = node_dir / "tmp"
    files = (*temporary.glob("*"), *node_dir.glob("*/.*"), *node_dir.glob("*/*/.*"))
    left = Left(begin_run(node_dir / "runs"), files)
    own = temporary / secrets.token_hex(8)
    own.mkdir(mode=0o700, parents=True)
    before, tempfile.tempdir = tempfile.tempdir, str(own)
    try:
        yield left
    finally:
        tempfile.tempdir = before
    shutil.rmtree(own, ignore_errors=True)
    end_run(node_dir / "runs")


@asynccontextmanager
async def reclaiming(
    node_dir: Path, left: Left, backends: Mapping[Isolation, Backend], slots: Slots
) -> AsyncIterator[None]:
    """Remove what is left while the context is held, and for some seconds more if that was not long.

    What is not done then is the next start's.
    """
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_reclaim(node_dir / "runs", left, backends, slots))
        try:
            yield
        finally:
            # A server that is stopped just after its start leaves no more behind than one that served for long.
            await asyncio.wait([task], timeout=FINISH_S)
            task.cancel()


async def _reclaim(runs: Path, left: Left, backends: Mapping[Isolation, Backend], slots: Slots) -> None:
    began_at = monotonic()
    counts: dict[str, int] = {}

    async def count(kind: str, removal: Callable[[], Awaitable[int]]) -> int:
        """One kind's failure is no reason to leave the others."""
        try:
            removed = await removal()
        except Exception:
            logger.exception("leftovers could not be removed", kind=kind)
            return 0
        counts[kind] = counts.get(kind, 0) + removed
        metrics.leftovers_removed.labels(kind).inc(removed)
        return removed

    async def clear(isolation: Isolation, backend: Backend) -> None:
        metrics.sandboxes_reclaimed.labels(isolation).inc(await count("sandbox", backend.reclaim))

    # What still runs first: it could make more of the rest.
    await count("process", lambda: end_earlier(runs, left.marks))
    async with asyncio.TaskGroup() as group:
        for isolation, backend in backends.items():
            group.create_task(clear(isolation, backend))
    await count("network", slots.reclaim)
    await count("file", lambda: asyncio.to_thread(_remove, left.files))
    seconds = monotonic() - began_at
    metrics.leftovers_seconds.set(seconds)
    if any(counts.values()):
        logger.info("leftovers removed", seconds=round(seconds, 3), **counts)


def _remove(files: Sequence[Path]) -> int:
    for path in files:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(files)
