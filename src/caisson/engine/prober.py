"""What each isolation can do on this host: found out at the start, and again for as long as something is lacking."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic

import structlog

from caisson.engine.pool import Pools
from caisson.images.catalog import Catalog
from caisson.model import Isolation
from caisson.sandbox.contract import Backend, Capabilities

logger = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
AGAIN_AFTER_S = 5.0
LONGEST_PAUSE_S = 600.0
"""Between two probes of what does not work. The pause begins with `AGAIN_AFTER_S`, and doubles."""


class Prober:
    """Asks backends what they can do, and keeps the answers."""

    def __init__(self, backends: Mapping[Isolation, Backend], pools: Pools, catalog: Catalog) -> None:
        self._backends = backends
        self._pools = pools
        self._catalog = catalog
        self.found: dict[Isolation, Capabilities] = {}
        """By isolation, for all backends once `begin` has returned. Changes while `keep` runs."""

    async def begin(self) -> None:
        """Probe all backends, side by side."""
        async with asyncio.TaskGroup() as group:
            for isolation in self._backends:
                group.create_task(self._probe(isolation))

    async def keep(self) -> None:
        """Probe again what lacks something, ever more seldom; and all, soon after images came or went. Never returns.

        A host that was busy, or a disk that was full, when the server started must not cost an isolation for good.
        """
        images = await self._images({})
        pause_s = AGAIN_AFTER_S
        due = monotonic() + pause_s
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            seen, images = images, await self._images(images)
            changed = seen != images
            if changed:
                pause_s = AGAIN_AFTER_S
            elif monotonic() < due:
                continue
            for isolation, found in list(self.found.items()):
                # What works says which images it works with.
                if changed or not found.available or found.missing:
                    await self._probe(isolation)
            due = monotonic() + pause_s
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _images(self, before: dict[str, str]) -> dict[str, str]:
        try:
            return await asyncio.to_thread(self._catalog.current)
        except RuntimeError as error:
            # There may be no more threads just now.
            logger.warning("the images could not be looked at", error=str(error))
            return before

    async def _probe(self, isolation: Isolation) -> None:
        backend, before = self._backends[isolation], self.found.get(isolation)
        try:
            found = await backend.probe()
            warm = backend.warm() if found.available else {}
        except Exception as error:
            # One backend's mistake must not keep the others from serving.
            logger.exception("backend failed its probe", isolation=isolation)
            found, warm = Capabilities(isolation, available=False, reason=f"its probe failed: {error!r}"), {}
        # What works is not taken away because one more look at it did not go well.
        if before is not None and (found == before or (before.available and not found.available)):
            return
        self.found[isolation] = found
        logger.info("backend probed", isolation=isolation, available=found.available, reason=found.reason)
        for spec, target in warm.items():
            self._pools.keep_warm(backend, spec, target)
