"""What the server's host has and lacks, for whoever operates it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from caisson.answers import CheckVerdict, HostCheck
from caisson.host.doctor import examine

AGAIN_AFTER_S = 10


class HostChecks:
    """The checks of `caisson doctor`, made at most every ten seconds, however many ask: they start processes."""

    def __init__(self, data_dir: Path, runsc: str) -> None:
        self._data_dir = data_dir
        self._runsc = runsc
        self._examining = asyncio.Lock()
        self._found: tuple[float, list[HostCheck]] | None = None

    async def list(self) -> list[HostCheck]:
        """All of them, in the order in which they build on each other."""
        async with self._examining:
            if self._found is None or time.monotonic() - self._found[0] > AGAIN_AFTER_S:
                checks = [
                    HostCheck(name=found.name, verdict=CheckVerdict(found.verdict), found=found.found, fix=found.fix)
                    for found in await examine(self._data_dir, self._runsc)
                ]
                self._found = time.monotonic(), checks
            return self._found[1]
