"""How much memory the sandboxes of a server take, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path


def waiting_mb(server: int) -> float:
    """Memory of all processes below a server's, each page shared among those who have it (PSS), in MB."""
    return waiting_kib(server) * 1024 / 1e6


def waiting_kib(server: int) -> int:
    """The same in KiB."""
    total_kib, parents = 0, {server}
    stats = {int(entry.name): entry for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    below: set[int] = set()
    while True:
        found = {pid for pid in stats if pid not in below and _parent(stats[pid]) in parents | below}
        if not found:
            break
        below |= found
    for pid in below:
        try:
            lines = (Path(f"/proc/{pid}/smaps_rollup")).read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib


def available_mb() -> int:
    """Memory that new programs may take without pushing others out, in MiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    return 0


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
