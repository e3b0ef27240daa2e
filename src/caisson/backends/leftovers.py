"""What a restarted server must know of the sandboxes of the one before it, and how it removes them, and nothing else.

Each sandbox of a backend has a folder, in which it notes its processes and control groups once it runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from caisson.errors import CaissonError
from caisson.host.cgroup import CgroupError, Group, Tree
from caisson.host.pidfd import Followed, start_ticks

logger = structlog.get_logger(__name__)

_DEATH_S = 10.0
_RETRY_S = 0.01
_STATE = "state.json"
MARK = "CAISSON_SANDBOX"
"""Environment variable of a sandbox's first processes, whose value is its name: what knows a chain that was killed
before it was noted. The name is random, and the folder that has it the server's alone."""


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
    except (FileNotFoundError, ValueError):
        return State({}, ())
    processes = {int(pid): ticks for pid, ticks in stored["processes"].items()}
    return State(processes, tuple(Path(path) for path in stored["cgroups"]))


def remove_folder(folder: Path) -> None:
    """Remove it and all below; nothing happens if it is gone."""
    if folder.exists():
        shutil.rmtree(folder)


async def reclaim(sandboxes: Path, tree: Tree) -> int:
    """End and remove every sandbox that has a folder in `sandboxes` or a group in `tree`; how many those were."""
    folders = await asyncio.to_thread(_folders, sandboxes)
    strays = await asyncio.to_thread(_strays, folders)
    count = 0
    for name in sorted(folders.keys() | tree.names()):
        folder = folders.get(name)
        state = State({}, ()) if folder is None else read_state(folder)
        try:
            for pid, ticks in strays.get(name, {}).items():
                await _end(pid, ticks)
            await _remove(state, tree.find(name))
            if folder is not None:
                await asyncio.to_thread(remove_folder, folder)
            count += 1
        except (OSError, CaissonError, TimeoutError) as error:
            # The next start tries again; the others are not to wait for it.
            logger.error("a left-over sandbox could not be removed", sandbox=name, error=str(error))
    return count


def _folders(sandboxes: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in sandboxes.iterdir()} if sandboxes.is_dir() else {}


def _strays(folders: Mapping[str, Path]) -> dict[str, dict[int, int]]:
    """Processes of left-over sandboxes that need not have been noted, by sandbox, with their start times.

    A chain whose server died while it was started bears the mark. What it starts does so without its environment, but
    opens the sandbox's own FIFOs.
    """
    fifos = {
        (found.st_dev, found.st_ino): name
        for name, folder in folders.items()
        for path in folder.rglob("*")
        if stat.S_ISFIFO((found := path.lstat()).st_mode)
    }
    strays: dict[str, dict[int, int]] = {}
    if not folders:
        return strays
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            ticks = start_ticks(int(process.name))
            # Looked at after the time was read: the number can only have come to mean another process before that.
            name = _owner(process, folders, fifos)
            if ticks is not None and name is not None:
                strays.setdefault(name, {})[int(process.name)] = ticks
    return strays


def _owner(process: Path, folders: Mapping[str, Path], fifos: Mapping[tuple[int, int], str]) -> str | None:
    """The left-over sandbox that a process belongs to."""
    try:
        for variable in (process / "environ").read_bytes().split(b"\0"):
            key, _, value = variable.partition(b"=")
            if key == MARK.encode() and (name := value.decode("utf-8", "replace")) in folders:
                return name
        for descriptor in (process / "fd").iterdir():
            found = descriptor.stat()
            if stat.S_ISFIFO(found.st_mode) and (found.st_dev, found.st_ino) in fifos:
                return fifos[found.st_dev, found.st_ino]
    except OSError:  # it has ended, or is not for us to look at
        return None
    return None


async def _remove(state: State, group: Group) -> None:
    for pid, ticks in state.processes.items():
        await _end(pid, ticks)
    # The server may have lived in another control group then, so what it wrote down counts as well.
    left = Group({str(path): path for path in (*group.paths, *state.cgroups)})
    left.kill()
    async with asyncio.timeout(_DEATH_S):
        while True:
            try:
                left.remove()
                return
            except CgroupError:
                await asyncio.sleep(_RETRY_S)


async def _end(pid: int, ticks: int) -> None:
    try:
        process = Followed(pid)
    except ProcessLookupError:
        return
    try:
        # Compared only now that the pidfd is held: from here on the number cannot come to mean another process.
        if start_ticks(pid) == ticks:
            process.kill()
            async with asyncio.timeout(_DEATH_S):
                await process.wait()
    finally:
        process.close()
