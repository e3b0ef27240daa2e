"""Removes what earlier runs of this node's server left behind, beside everything else that a start does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import structlog

from caisson import metrics
from caisson.host.birthmark import end_earlier
from caisson.host.network.slots import Slots
from caisson.model import Isolation
from caisson.sandbox.contract import Backend

logger = structlog.get_logger(__name__)


@asynccontextmanager
async def reclaiming(
    runs: Path, earlier: frozenset[str], backends: Mapping[Isolation, Backend], slots: Slots
) -> AsyncIterator[None]:
    """Remove it while the context is held; what is not done when that is left is the next start's.

    `earlier`: the marks of earlier runs, which are remembered in `runs`.
    """
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_reclaim(runs, earlier, backends, slots))
        try:
            yield
        finally:
            task.cancel()


async def _reclaim(runs: Path, earlier: frozenset[str], backends: Mapping[Isolation, Backend], slots: Slots) -> None:
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
    await count("process", lambda: end_earlier(runs, earlier))
    async with asyncio.TaskGroup() as group:
        for isolation, backend in backends.items():
            group.create_task(clear(isolation, backend))
    await count("network", slots.reclaim)
    seconds = monotonic() - began_at
    metrics.leftovers_seconds.set(seconds)
    if any(counts.values()):
        logger.info("leftovers removed", seconds=round(seconds, 3), **counts)
