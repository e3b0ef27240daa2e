"""What a test or a server may have left behind: processes, mounts, cgroups, files and descriptors."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.processes import Process, descendants, processes

CGROUP_ROOT = Path("/sys/fs/cgroup")
PATIENCE_S = 20
"""How long a process that was killed may take to disappear from the lists. What really leaks stays for ever."""
STANDING: set[int] = set()
"""Processes of servers that outlast a test; what they start and end meanwhile is no test's."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What this test process holds, leaving out what lives below other processes it was told about."""

    processes: frozenset[Process]
    mounts: frozenset[str]
    descriptors: frozenset[str]

    def minus(self, before: Footprint) -> dict[str, list[str]]:
        """What is here and was not there before, by kind; empty when nothing was left behind."""
        left = {
            "processes": [told(p) for p in self.processes - before.processes],
            "mounts": list(self.mounts - before.mounts),
            "descriptors": list(self.descriptors - before.descriptors),
        }
        return {kind: sorted(items) for kind, items in left.items() if items}


@contextmanager
def standing(pid: int) -> Iterator[None]:
    """For as long as the context lasts, this process and all below it are no test's."""
    STANDING.add(pid)
    try:
        yield
    finally:
        STANDING.remove(pid)


def footprint(marker: str, apart_from: frozenset[int] = frozenset()) -> Footprint:
    """What there is now. Mounts count if `marker` is part of their path."""
    return Footprint(
        frozenset(descendants(os.getpid(), apart_from)),
        frozenset(mounts_naming(marker)),
        frozenset(open_descriptors()),
    )


def told(process: Process) -> str:
    """A process for whoever must find out why it is there: what it was called with, and where it waits."""
    words, place = b"", ""
    with suppress(OSError):
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
        place = Path(f"/proc/{process.pid}/wchan").read_text()
    return f"{process.name} ({process.pid}, waits in {place or '?'}): {words[:400].decode('utf-8', 'replace')}"


def mounts_naming(marker: str) -> list[str]:
    """Mount points of this namespace with `marker` in their path."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if marker in point]


def cgroups_naming(marker: str) -> list[str]:
    """Control groups, in any hierarchy, whose name holds `marker`."""
    return [path for path, _, _ in os.walk(CGROUP_ROOT) if marker in path]


def open_descriptors() -> list[str]:
    """Descriptors of this process and what they are open on."""
    gc.collect()
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(f"{entry.name} → {entry.readlink()}")
        except FileNotFoundError:  # the listing's own descriptor
            continue
    return found


def assert_nothing_new(before: Footprint, marker: str, apart_from: frozenset[int] = frozenset()) -> None:
    """Fail unless everything that came since `before` is gone, or goes within some seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while left := footprint(marker, apart_from).minus(before):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


def assert_nothing_left(folder: Path, node_id: str, sandboxes: set[Process]) -> None:
    """Fail if a server that has ended left mounts, control groups, temporary files or any of its processes."""
    left = {
        "processes": [told(p) for p in sandboxes & set(processes())],
        "mounts": mounts_naming(str(folder)),
        "cgroups": cgroups_naming(node_id),
        "network namespaces": [str(path) for path in Path("/run/netns").glob(f"*{node_id}*")],
        "temporary files": [str(path) for path in (folder / "tmp").rglob("*")],
    }
    assert not any(left.values()), f"the server left behind: { {kind: items for kind, items in left.items() if items} }"
