"""Folders as images: made the same every time, measured, and removed."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from caisson.images.manifest import FileRecord, TreeRecord

_PIECE = 1 << 20


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `root`, by relative path, sorted, a folder before what is in it; links are not followed."""
    yield from _walk(os.fspath(root), "")


def _walk(root: str, below: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(f"{root}/{below}") as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        status = entry.stat(follow_symlinks=False)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, path)


def settle(root: Path, epoch_s: int) -> None:
    """Take from a fresh root what differs from build to build: owners, times, special files, set-user-id bits.

    Set-user-id programs have no use in a sandbox, whose user may gain nothing.
    """
    as_root = os.geteuid() == 0
    for path, status in walk(root):
        full = root / path
        if as_root and (status.st_uid or status.st_gid):
            os.chown(full, 0, 0, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            # Every file can be read by everyone: there are no secrets in an image, and pulling one may need no root.
            full.chmod(0o755 if status.st_mode & 0o111 else 0o666 if status.st_mode & 0o002 else 0o644)
        elif stat.S_ISDIR(status.st_mode):
            full.chmod(0o1777 if status.st_mode & 0o002 else 0o755)
        elif not stat.S_ISLNK(status.st_mode):
            full.unlink()
    # Afterwards and from the inside out: whatever changes a folder's content changes its time.
    times = (epoch_s, epoch_s)
    for path, _ in reversed(list(walk(root))):
        os.utime(root / path, times, follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, times)


def measure(root: Path) -> TreeRecord:
    """The digest of a root: kinds, modes, contents and link targets, but neither owners nor times."""
    digest = hashlib.sha256()
    entries = size = 0
    for path, status in walk(root):
        entries += 1
        full = root / path
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            what = f"file {mode:o} {hash_file(full).sha256}"
            size += status.st_size
        elif stat.S_ISDIR(status.st_mode):
            what = f"folder {mode:o}"
        elif stat.S_ISLNK(status.st_mode):
            what = "link " + hashlib.sha256(os.fsencode(full.readlink())).hexdigest()
        else:
            what = "special"
        digest.update(what.encode() + b" " + os.fsencode(path) + b"\0")
    return TreeRecord(sha256=digest.hexdigest(), entries=entries, size=size)


def hash_file(path: Path) -> FileRecord:
    """Digest and size of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return FileRecord(sha256=digest.hexdigest(), size=size)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, also where their owner may not write. Nothing happens if it is gone."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(folder)
    except PermissionError:
        _open_up(folder)
        shutil.rmtree(folder)


def _open_up(folder: Path) -> None:
    folder.chmod(0o700)
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            _open_up(Path(entry))
