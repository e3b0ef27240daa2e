"""What a sandbox uses: counted since its workload began, and watched where no limit of the kernel fits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from caisson.backends.gvisor.control import Held
from caisson.backends.gvisor.processes import Processes
from caisson.host.cgroup import Group
from caisson.model import Resources, Usage

WATCH_S = 0.1
KILLED_EVERY = 10
"""Every so many looks it is also seen whether parts of the sandbox were killed, for which all of them are looked at."""
LAST_WORD_S = 1.0
"""How long gVisor has to say what is held when the program has ended."""
_MOST_LOG_BYTES = 8 << 20
_MIB = 1 << 20


class Excess(Enum):
    """Which limit was exceeded."""

    MEMORY = "memory"
    DISK = "disk"


class Watch:
    """Looks at a running sandbox ten times a second, and has it ended when it holds more than it was given, or when a
    part of it is dead.

    A control group stops what gets by in between, memory and files together, and tells when it ends whether something
    may have.
    """

    def __init__(self, resources: Resources, logs: Path, ask: Callable[[], None], processes: Processes) -> None:
        """Looks from now on, until `close`. `ask` makes somebody call `heard`."""
        self.excess: Excess | None = None
        self.peak_bytes = 0
        self._mem_bytes = resources.mem_mb * _MIB
        self._disk_bytes = resources.disk_mb * _MIB
        self._is_over = False
        self._last_word: asyncio.Future[Held] | None = None
        self._logs = logs
        self._ask = ask
        self._processes = processes
        self._looks = 0
        self._killed = set[int]()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(WATCH_S, self._look)

    def heard(self, held: Held) -> None:
        """The sandbox holds this much now."""
        self.peak_bytes = max(self.peak_bytes, held.memory)
        if self._last_word is not None and not self._last_word.done():
            self._last_word.set_result(held)
            return
        # Seen twice: what a file held that was just removed counts as memory for a moment.
        before, self._is_over = self._is_over, held.memory > self._mem_bytes
        if self.excess is None and before and self._is_over:
            self.excess = Excess.MEMORY
        elif self.excess is None and held.files > self._disk_bytes:
            self.excess = Excess.DISK
        if self.excess is not None:
            self._processes.kill_inner()

    async def look_back(self, grown_bytes: int, own_bytes: int) -> None:
        """Find out whether a program that has ended held too much between two looks.

        `grown_bytes`: by how much its control group grew at most, files and memory together. `own_bytes`: the most that
        one of its processes had mapped, without what its interpreter is made of.
        """
        if self.excess is not None or grown_bytes <= min(self._mem_bytes, self._disk_bytes):
            return
        self._last_word = self._loop.create_future()
        self._ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                held = await self._last_word
                if held.files > self._disk_bytes:
                    self.excess = Excess.DISK
                # Files that it removed count as grown, and files that it mapped as its own, but seldom both.
                elif min(grown_bytes - held.files, own_bytes) > self._mem_bytes:
                    self.excess = Excess.MEMORY

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._timer.cancel()

    def _look(self) -> None:
        self._ask()
        shorten_logs(self._logs)
        if self._is_broken():
            self._processes.kill_inner()
        self._timer = self._loop.call_later(WATCH_S, self._look)

    def _is_broken(self) -> bool:
        self._looks += 1
        if self._looks % KILLED_EVERY == 0:
            before, self._killed = self._killed, self._processes.killed_below()
            # Seen twice: gVisor may just have been about to wait for it.
            return bool(before & self._killed)
        return self._processes.lacking


class Meter:
    """Measures one sandbox from its workload's begin."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._cpu_us_before = 0
        self._held_before = 0
        self._peak_bytes = 0
        self._seen = self._told = Usage()
        self.oom_kills = 0
        """As of the last reading."""

    def begin(self) -> None:
        """Count from now on."""
        self._group.reset_peak()
        self._cpu_us_before = self._group.cpu_us() or 0
        self._held_before = self._group.held_bytes() or 0

    def account(self, cpu_us: int | None, peak_bytes: int | None) -> None:
        """What the agent says of the program, which counts where there is no control group to ask."""
        self._told = Usage(
            cpu_ms=None if cpu_us is None else cpu_us / 1000,
            peak_mem_mb=None if peak_bytes is None else round(peak_bytes / _MIB, 1),
        )

    @property
    def grown_bytes(self) -> int:
        """By how much the control group's memory grew at most, as of the last reading; 0 where there is none."""
        return max(0, self._peak_bytes - self._held_before)

    @property
    def last(self) -> Usage:
        """What was used up to the last reading."""
        seen, told = self._seen, self._told
        return Usage(
            cpu_ms=told.cpu_ms if seen.cpu_ms is None else seen.cpu_ms,
            peak_mem_mb=told.peak_mem_mb if seen.peak_mem_mb is None else seen.peak_mem_mb,
        )

    def read(self) -> Usage:
        """What was used so far; the last known values once the sandbox is gone."""
        now = self._group.read()
        self.oom_kills = max(self.oom_kills, now.oom_kills)
        self._peak_bytes = now.peak_bytes or self._peak_bytes
        cpu_ms = None if now.cpu_us is None else round(max(0, now.cpu_us - self._cpu_us_before) / 1000, 3)
        peak_mb = None if now.peak_bytes is None else round(now.peak_bytes / _MIB, 1)
        self._seen = Usage(
            cpu_ms=self._seen.cpu_ms if cpu_ms is None else cpu_ms,
            peak_mem_mb=self._seen.peak_mem_mb if peak_mb is None else peak_mb,
        )
        return self.last


def shorten_logs(folder: Path) -> None:
    """Empty a log that got too long: what runsc writes may be brought about by the program."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.stat().st_size > _MOST_LOG_BYTES and entry.stat().st_blocks * 512 > _MOST_LOG_BYTES:
                os.truncate(entry.path, 0)
