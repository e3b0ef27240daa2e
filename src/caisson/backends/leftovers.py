"""What a restarted server must know of the sandboxes of the one before it, and how it removes them, and nothing else.

Each sandbox of a backend has a folder, in which it notes its user before it starts anything, and its processes and
control groups once it runs. What is not noted yet is known by the run's mark, see `host/birthmark.py`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from caisson.errors import CaissonError, StartFailed
from caisson.host.birthmark import end_processes
from caisson.host.cgroup import Group, Tree
from caisson.host.pidfd import start_ticks
from caisson.host.reserve import spending

logger = structlog.get_logger(__name__)

_EMPTY_S = 10.0
_AT_ONCE = 32
"""Sandboxes that are being removed at one time."""
_STATE = "state.json"
_USER = "user"
UIDS = 10_000
"""User ids a backend has for its sandboxes."""


@dataclass(frozen=True, slots=True)
class State:
    """A sandbox as its folder remembers it: processes with their start times, and control groups."""

    processes: Mapping[int, int]
    cgroups: Sequence[Path]


def write_state(folder: Path, pids: Sequence[int], cgroups: Sequence[Path]) -> None:
    """Remember the processes and control groups of a sandbox that runs."""
    processes = {pid: ticks for pid in pids if (ticks := start_ticks(pid)) is not None}
    (folder / _STATE).write_text(json.dumps({"processes": processes, "cgroups": [str(path) for path in cgroups]}))


def read_state(folder: Path) -> State:
    """What was remembered; nothing if the server died before, or while, it wrote."""
    try:
        stored = json.loads((folder / _STATE).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return State({}, ())
    processes = {int(pid): ticks for pid, ticks in stored["processes"].items()}
    return State(processes, tuple(Path(path) for path in stored["cgroups"]))


def remove_folder(folder: Path) -> None:
    """Remove it and all below; nothing happens if it is gone."""
    if folder.exists():
        with spending():
            shutil.rmtree(folder)


class Living:
    """The sandboxes this process has: what else lies in their folder is left over from an earlier one."""

    def __init__(self, sandboxes: Path, uid_base: int) -> None:
        """`sandboxes` need not exist yet."""
        self._sandboxes = sandboxes
        self._uid_base = uid_base
        # Each run begins elsewhere: two servers on one machine seldom give the same user to two sandboxes, and what an
        # earlier run left counts in nobody's RLIMIT_NPROC, even dead and unburied where process 1 reaps no orphans.
        self._uid_first = secrets.randbelow(UIDS)
        self._names: set[str] = set()
        self._uids: set[int] | None = None

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Have a sandbox of this name, from before there is anything of it until nothing is."""
        self._names.add(name)
        try:
            yield
        finally:
            self._names.discard(name)

    @contextmanager
    def user(self) -> Iterator[int]:
        """A user id that no other sandbox has, a left-over one neither. Raises StartFailed."""
        if self._uids is None:
            self._uids = {uid for folder in _children(self._sandboxes) if (uid := _read_user(folder)) is not None}
        candidates = (self._uid_base + (self._uid_first + number) % UIDS for number in range(UIDS))
        uid = next((uid for uid in candidates if uid not in self._uids), None)
        if uid is None:
            raise StartFailed("all user ids for sandboxes are in use")
        self._uids.add(uid)
        try:
            yield uid
        finally:
            self._uids.discard(uid)

    async def remove_others(self, tree: Tree) -> int:
        """End and remove every sandbox that has a folder or a group in `tree` and is none of these; how many."""
        folders = {folder.name: folder for folder in _children(self._sandboxes)}
        # Compared before anything is waited for: what this process begins from now on is not in the list.
        left = (folders.keys() | tree.names()) - self._names
        turns = asyncio.Semaphore(_AT_ONCE)

        async def remove(name: str) -> bool:
            async with turns:
                return await _remove(name, folders.get(name), tree.find(name))

        async with asyncio.TaskGroup() as group:
            removals = [group.create_task(remove(name)) for name in sorted(left)]
        return sum(removal.result() for removal in removals)


def write_user(folder: Path, uid: int | None) -> None:
    """Remember, before anything is started, as which user a sandbox will run."""
    (folder / _USER).write_text("" if uid is None else str(uid))


def _read_user(folder: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((folder / _USER).read_text())
    return None


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


async def _remove(name: str, folder: Path | None, group: Group) -> bool:
    state = State({}, ()) if folder is None else read_state(folder)
    try:
        await end_processes(state.processes)
        # The server may have lived in another control group then, so what it wrote down counts as well.
        left = Group({str(path): path for path in (*group.paths, *state.cgroups)})
        await left.end(_EMPTY_S)
        if folder is not None:
            await asyncio.to_thread(remove_folder, folder)
    except (OSError, CaissonError, TimeoutError) as error:
        # The next start tries again; the others are not to wait for it.
        logger.error("a left-over sandbox could not be removed", sandbox=name, error=str(error))
        return False
    return True
