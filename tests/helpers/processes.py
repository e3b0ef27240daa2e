"""What runs below a process, read from `/proc`."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


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


def descendants(pid: int) -> set[Process]:
    """Everything below `pid`, at any depth."""
    children: defaultdict[int, list[Process]] = defaultdict(list)
    for process in processes():
        children[process.parent].append(process)
    found: set[Process] = set()
    waiting = [pid]
    while waiting:
        for child in children[waiting.pop()]:
            found.add(child)
            waiting.append(child.pid)
    return found
