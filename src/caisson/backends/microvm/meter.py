"""What a machine uses: counted by the host, apart from memory, of which the host sees only the whole machine's."""

from __future__ import annotations

from caisson.host.cgroup import Group
from caisson.model import Usage

_MIB = 1 << 20


class Meter:
    """Measures one machine from its workload's begin."""

    def __init__(self, group: Group, ram_mb: int) -> None:
        self._group = group
        self._ram_mb = ram_mb
        self._cpu_us_before = 0
        self._peak_mb: float | None = None
        self._cpu_ms: float | None = None

    def begin(self) -> None:
        """Count from now on."""
        self._cpu_us_before = self._group.read().cpu_us or 0

    def account(self, peak_bytes: int | None) -> None:
        """What the agent says of the program's memory; no more than the machine has is believed."""
        if peak_bytes is not None:
            self._peak_mb = min(round(peak_bytes / _MIB, 1), float(self._ram_mb))

    def read(self) -> Usage:
        """What was used so far; the last known values once the machine is gone."""
        now = self._group.read()
        if now.cpu_us is not None:
            self._cpu_ms = round(max(0, now.cpu_us - self._cpu_us_before) / 1000, 3)
        peak_mb = self._peak_mb
        if peak_mb is None and now.peak_bytes is not None:
            peak_mb = round(now.peak_bytes / _MIB, 1)
        return Usage(cpu_ms=self._cpu_ms, peak_mem_mb=peak_mb)
