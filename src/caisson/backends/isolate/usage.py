"""What a sandbox uses: counted since its workload began, and watched where no limit of the kernel fits."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from caisson.host.cgroup import Group
from caisson.host.pidfd import Followed
from caisson.model import Usage

WATCH_S = 0.1
_MORE_MAPPED_BYTES = 32 << 20
"""How much more of its own program a runtime may come to use while it runs something."""
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Meter:
    """Measures one sandbox. `pid` is the only process inside."""

    group: Group
    pid: int
    _cpu_ms_before: float = 0
    _last: Usage = field(default_factory=Usage)

    def begin(self) -> None:
        """Count from now on."""
        self.group.reset_peak()
        self._cpu_ms_before = self._measure().cpu_ms or 0

    def read(self) -> Usage:
        """What was used so far; the last known values once the sandbox is dead."""
        now = self._measure()
        cpu_ms = None if now.cpu_ms is None else round(max(0, now.cpu_ms - self._cpu_ms_before), 3)
        self._last = Usage(
            cpu_ms=self._last.cpu_ms if cpu_ms is None else cpu_ms,
            peak_mem_mb=self._last.peak_mem_mb if now.peak_mem_mb is None else now.peak_mem_mb,
        )
        return self._last

    def _measure(self) -> Usage:
        reading = self.group.read()
        cpu_ms = None if reading.cpu_us is None else reading.cpu_us / 1000
        peak_mb = None if reading.peak_bytes is None else round(reading.peak_bytes / (1 << 20), 1)
        with suppress(OSError):
            if cpu_ms is None:
                stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
                cpu_ms = (int(stat[11]) + int(stat[12])) * _TICK_MS
            if peak_mb is None:
                peak_mb = round(status_kib(self.pid, "VmHWM") / 1024, 1)
        return Usage(cpu_ms=cpu_ms, peak_mem_mb=peak_mb)


class MemoryWatch:
    """Ends a process that holds more memory of its own than it was given.

    A control group counts files in /tmp as well, and RLIMIT_DATA counts what V8 only reserves; neither is the memory a
    program uses. This looks at it ten times a second, and at its peak when it has ended; the control group holds what
    gets by in between.
    """

    def __init__(self, process: Followed, limit_bytes: int, mapped_bytes: int) -> None:
        """Looks from now on, until `close`. `mapped_bytes`: files that it had mapped before it ran anything."""
        self.exceeded = False
        self._process = process
        self._limit_kib = limit_bytes >> 10
        self._mapped_kib = mapped_bytes + _MORE_MAPPED_BYTES >> 10
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(WATCH_S, self._look)

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._timer.cancel()

    def look_back(self) -> bool:
        """True if a process that is still there ever held more than it was given, for however short a time."""
        with suppress(OSError):
            # The kernel keeps the peak of all that is mapped. Files stay mapped, so the rest was the process's own.
            own_kib = status_kib(self._process.pid, "VmHWM") - (mapped_bytes(self._process.pid) >> 10)
            self.exceeded = self.exceeded or own_kib > self._limit_kib
        return self.exceeded

    def hear_of_peak(self, peak_bytes: int) -> bool:
        """The same of one that is gone, by the most that it ever had mapped."""
        self.exceeded = self.exceeded or (peak_bytes >> 10) - self._mapped_kib > self._limit_kib
        return self.exceeded

    def _look(self) -> None:
        try:
            used_kib = status_kib(self._process.pid, "RssAnon")
        except (FileNotFoundError, ProcessLookupError):
            return
        except OSError:
            # No descriptor is left to read it by; the next look may have one.
            used_kib = 0
        if used_kib > self._limit_kib:
            self.exceeded = True
            self._process.kill()
        else:
            self._timer = self._loop.call_later(WATCH_S, self._look)


def mapped_bytes(pid: int) -> int:
    """Files that a process has in memory, among them its program; 0 if it is gone."""
    try:
        return status_kib(pid, "RssFile") + status_kib(pid, "RssShmem") << 10
    except OSError:
        return 0


def status_kib(pid: int, name: str) -> int:
    """A figure of /proc/PID/status, such as VmData, in KiB. Raises OSError if the process is gone."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no {name}: it has ended")
