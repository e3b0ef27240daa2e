"""What runs below a process, read from `/proc`."""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SANDBOXES = {"bwrap", "deno", "exe", "qemu-system-x86", "runsc"}
"""Names of processes that outlive their server for a moment; gVisor's inner ones are called `exe`."""
TICK_MS = 1_000 / os.sysconf("SC_CLK_TCK")
"""How exactly the kernel tells CPU time."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process, known by its pid and when it started: pids are used again."""

    pid: int
    started: int
    parent: int = field(compare=False)
    name: str = field(compare=False)


def adopt_orphans() -> None:
    """Become the parent of every orphaned descendant, so that none can leave the tree that `descendants` walks."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def bury_orphans() -> None:
    """Let go of dead orphans, as process 1 would: thousands would come together, make every walk through `/proc`
    slower, and count in what their users may have (RLIMIT_NPROC).

    Only of what sandboxes consist of; whatever a test starts itself, it waits for itself.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, ChildProcessError):
            head, _, tail = (folder / "stat").read_text().rpartition(")")
            state, parent = tail.split()[:2]
            if state == "Z" and int(parent) == os.getpid() and head.partition(" (")[2] in SANDBOXES:
                os.waitpid(int(folder.name), os.WNOHANG)


def processes() -> list[Process]:
    """Every process there is, without zombies: those are dead already."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it ended after the listing
            continue
        # The name stands in parentheses and may itself hold spaces and parentheses.
        head, _, tail = text.rpartition(")")
        pid, _, name = head.partition(" (")
        fields = tail.split()
        if fields[0] not in "ZX":
            found.append(Process(pid=int(pid), started=int(fields[19]), parent=int(fields[1]), name=name))
    return found


def descendants(pid: int, apart_from: Collection[int] = ()) -> set[Process]:
    """Everything below `pid`, at any depth; without the processes in `apart_from` and what is below them."""
    children: defaultdict[int, list[Process]] = defaultdict(list)
    for process in processes():
        children[process.parent].append(process)
    found: set[Process] = set()
    waiting = [pid]
    while waiting:
        for child in children[waiting.pop()]:
            if child.pid not in apart_from:
                found.add(child)
                waiting.append(child.pid)
    return found


def cpu_ms(pid: int) -> float:
    """CPU time a process has used itself."""
    return sum(_cpu_ticks(pid)[:2]) * TICK_MS


def cpu_ms_below(pid: int) -> dict[int, float]:
    """CPU time that everything that now runs below `pid` has used, by process id."""
    return {each.pid: cpu_ms(each.pid) for each in descendants(pid)}


def cpu_ms_of_all() -> float:
    """CPU time of all that runs below this process, and of all that was ever waited for there."""
    own = sum(_cpu_ticks(os.getpid())[2:])
    return (own + sum(sum(_cpu_ticks(each.pid)) for each in descendants(os.getpid()))) * TICK_MS


def _cpu_ticks(pid: int) -> list[int]:
    """User and system time of a process, and of its children that were waited for; zeros if it is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]
    except (FileNotFoundError, ProcessLookupError):
        return [0, 0, 0, 0]
