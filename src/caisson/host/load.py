"""How busy this machine is, from what the kernel counts."""

from __future__ import annotations

import os
from pathlib import Path

from caisson.answers import HostLoad


def host_load(folder: Path) -> HostLoad:
    """The load of the whole machine, and the room on the file system of `folder`."""
    memory = _meminfo()
    disk = os.statvfs(folder)
    load_1m, load_5m, load_15m = os.getloadavg()
    return HostLoad(
        load_1m=round(load_1m, 2),
        load_5m=round(load_5m, 2),
        load_15m=round(load_15m, 2),
        mem_total_mb=memory.get("MemTotal", 0) >> 10,
        mem_available_mb=memory.get("MemAvailable", 0) >> 10,
        disk_total_mb=disk.f_blocks * disk.f_frsize >> 20,
        disk_free_mb=disk.f_bavail * disk.f_frsize >> 20,
    )


def _meminfo() -> dict[str, int]:
    """Members of /proc/meminfo in KiB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
