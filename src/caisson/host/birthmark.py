"""A mark in the environment of everything a server starts, by which the next one finds what outlived it.

Whatever a server starts may be seen by nobody else yet when the server is killed: not noted, in no control group, and
not yet asked to die with its parent. So each process is born with the mark of its server's run, and what it forks
inherits it. A run's mark is in the node's folder before anything bears it, and stays there until nothing does.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from caisson.host.pidfd import Followed, start_ticks

MARK = "CAISSON_RUN"
"""The environment variable. Its value is random, so that nothing else can bear it by accident."""
DEATH_S = 10.0
"""How long killed processes may take to end."""
_PROC = Path("/proc")
_EMPTY_LOOKS = 2
_BETWEEN_LOOKS_S = 0.5

_MARK_CHARS = 32
_NAME = re.compile(rb"[0-9a-f]{%d}-" % _MARK_CHARS)

_own: dict[str, str] = {}


def own_mark() -> Mapping[str, str]:
    """What is added to the environment of each process; empty where no run was begun, as in a command line tool."""
    return _own


def mark_name(name: str) -> str:
    """A name that bears the mark: an argument for a program that empties the environment of what it starts."""
    return "-".join([*_own.values(), name])


def begin_run(folder: Path) -> frozenset[str]:
    """Have all that is started from now on bear a new mark, which `folder` remembers; marks of earlier runs."""
    folder.mkdir(mode=0o700, exist_ok=True)
    earlier = frozenset(path.name for path in folder.iterdir())
    mark = secrets.token_hex(_MARK_CHARS // 2)
    (folder / mark).touch(mode=0o600)
    _own[MARK] = mark
    return earlier


def end_run(folder: Path) -> None:
    """Forget this run: nothing that it started is left."""
    mark = _own.pop(MARK, None)
    if mark is not None:
        (folder / mark).unlink(missing_ok=True)


async def end_earlier(folder: Path, marks: Collection[str]) -> int:
    """End every process of these runs, however often they fork meanwhile, and forget the runs; how many there were.

    Raises TimeoutError for one that does not end; its run is then remembered.
    """
    ended = 0
    empty_looks = 0 if marks else _EMPTY_LOOKS
    while empty_looks < _EMPTY_LOOKS:
        found = await asyncio.to_thread(_bearing, frozenset(marks))
        ended += await end_processes(found)
        # One that is just becoming another program shows no environment for that moment, so a second look is needed.
        empty_looks = 0 if found else empty_looks + 1
        if not found and empty_looks < _EMPTY_LOOKS:
            await asyncio.sleep(_BETWEEN_LOOKS_S)
    for mark in marks:
        (folder / mark).unlink(missing_ok=True)
    return ended


async def end_processes(processes: Mapping[int, int]) -> int:
    """End those that still are what they were, by process id and start time; how many. Raises TimeoutError."""
    held: list[Followed] = []
    try:
        for pid, ticks in processes.items():
            with suppress(ProcessLookupError):
                process = Followed(pid)
                held.append(process)
                # Compared only now that the pidfd is held: from here on the number cannot come to mean another process.
                if start_ticks(pid) == ticks:
                    process.kill()
                else:
                    held.pop().close()
        async with asyncio.timeout(DEATH_S):
            for process in held:
                await process.wait()
        return len(held)
    finally:
        for process in held:
            process.close()


def _bearing(marks: frozenset[str]) -> dict[int, int]:
    """Processes that bear one of the marks, with their start times."""
    found = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            ticks = start_ticks(int(folder.name))
            # Looked at after the time was read: the number can only have come to mean another process before that.
            if ticks is not None and _mark_of(folder) in marks:
                found[int(folder.name)] = ticks
    return found


def _mark_of(process: Path) -> str | None:
    """The mark a process bears in its environment, or as the beginning of an argument (see `mark_name`)."""
    try:
        for variable in (process / "environ").read_bytes().split(b"\0"):
            name, _, value = variable.partition(b"=")
            if name == MARK.encode():
                return value.decode("ascii", "replace")
        for argument in (process / "cmdline").read_bytes().split(b"\0"):
            if _NAME.match(argument):
                return argument[:_MARK_CHARS].decode()
    except OSError:  # it has ended, or is not for us to look at
        return None
    return None
