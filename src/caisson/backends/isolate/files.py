"""A sandbox's folder on the host: its workload's files, and what a restarted server must know to remove it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from caisson.errors import StartFailed
from caisson.host.pidfd import start_ticks
from caisson.images.archive import ArchiveError, extract_archive
from caisson.sandbox.contract import Job

_AT_ONCE_FILES = 32
_AT_ONCE_BYTES = 1 << 20
_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class State:
    """A sandbox as its folder remembers it: processes with their start times, and control groups."""

    processes: Mapping[int, int]
    cgroups: Sequence[Path]


def make_folder(folder: Path) -> None:
    """The folder, with an empty `work` and `channel`, open to the sandbox's own user whatever the server's umask."""
    folder.mkdir(parents=True)
    for path in (folder, folder / "work", folder / "channel"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


async def deliver(job: Job, work: Path) -> None:
    """Put the job's files into its work folder; in a thread if there are many. Raises OSError or StartFailed."""
    small = len(job.files) <= _AT_ONCE_FILES and sum(map(len, job.files.values())) <= _AT_ONCE_BYTES
    if job.archive is None and small:
        _write_files(job.files, work)
    else:
        await asyncio.to_thread(_write_all, job, work)


def remove_folder(folder: Path) -> None:
    """Remove it and all below; nothing happens if it is gone."""
    if folder.exists():
        shutil.rmtree(folder)


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


def _write_all(job: Job, work: Path) -> None:
    if job.archive is not None:
        try:
            extract_archive(job.archive, work)
        except ArchiveError as error:
            raise StartFailed(f"the archive could not be unpacked: {error}") from error
    _write_files(job.files, work)


def _write_files(files: Mapping[str, bytes], work: Path) -> None:
    for name, data in files.items():
        if "/" in name:
            _make_parents((work / name).parent, work)
        fd = os.open(f"{work}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "wb") as file:
            # Whatever the server's umask is, the sandbox's own user reads it.
            os.fchmod(fd, 0o644)
            file.write(data)


def _make_parents(folder: Path, work: Path) -> None:
    for parent in reversed([folder, *folder.parents]):
        if parent.is_relative_to(work) and not parent.is_dir():
            parent.mkdir()
            parent.chmod(0o755)
