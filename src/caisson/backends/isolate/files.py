"""A sandbox's folder on the host, with its workload's files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from caisson.errors import StartFailed
from caisson.images.archive import ArchiveError, extract_archive
from caisson.sandbox.contract import Job

_AT_ONCE_FILES = 32
_AT_ONCE_BYTES = 1 << 20


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
