"""Packs a folder as a tar.gz: the same bytes for the same contents, and only what a server takes."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from caisson.client.errors import PackError
from caisson.model import MAX_ARCHIVE_BYTES, MAX_FILES

IGNORED = frozenset({".git", ".hg", ".svn", ".venv", "__pycache__", "node_modules"})
"""Names left out wherever they stand: histories, caches and installed packages."""


def open_archive(path: Path) -> BinaryIO:
    """The archive to send for `path`, to be closed: a folder or a file packed now, or a tar.gz file as it is."""
    with ExitStack() as closing:
        if path.is_dir() or not _is_gzip(path):
            file = cast(BinaryIO, closing.enter_context(TemporaryFile(prefix="caisson-pack-")))
            if path.is_dir():
                pack_folder(path, file)
            else:
                _pack(path.parent, [path.name], file)
        else:
            file = closing.enter_context(path.open("rb"))
            if (size := os.fstat(file.fileno()).st_size) > MAX_ARCHIVE_BYTES:
                raise PackError(f"{path} has {size} bytes; at most {MAX_ARCHIVE_BYTES} can be sent")
        file.seek(0)
        closing.pop_all()
        return file


def _is_gzip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror}") from error


def pack_folder(folder: Path, target: BinaryIO) -> None:
    """Write `folder` to `target`. Raises PackError naming what does not fit or cannot be packed."""
    files = list_files(folder)
    if not files:
        raise PackError(f"{folder} has no files to send")
    _pack(folder, files, target)


def _pack(folder: Path, names: Sequence[str], target: BinaryIO) -> None:
    # An empty name and no time keep gzip's header, and with it the archive, free of where and when it was made.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=_Bounded(folder, target), compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            _add(archive, folder, name)


class _Bounded:
    """Stops a folder that packs to too much before it fills the disk."""

    def __init__(self, folder: Path, target: BinaryIO) -> None:
        self._folder = folder
        self._target = target
        self._written = 0

    def write(self, data: bytes) -> int:
        """Pass on what still fits."""
        self._written += len(data)
        if self._written > MAX_ARCHIVE_BYTES:
            raise PackError(f"{self._folder} packs to more than {MAX_ARCHIVE_BYTES} bytes, the most that can be sent")
        return self._target.write(data)

    def flush(self) -> None:
        """Nothing is kept back here."""


def list_files(folder: Path) -> list[str]:
    """The files to pack, relative to `folder`, in order. Raises PackError for what is no file or folder."""
    root = folder.resolve()
    files: list[str] = []
    for place, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if name not in IGNORED)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in [*names, *links]:
            path = Path(place) / name
            if name not in IGNORED:
                _check(root, path)
                files.append(path.relative_to(root).as_posix())
        if len(files) > MAX_FILES:
            raise PackError(f"{folder} has more than {MAX_FILES} files")
    return sorted(files)


def _refuse(error: OSError) -> None:
    raise PackError(f"{error.filename} cannot be read: {error.strerror}") from error


def _check(root: Path, path: Path) -> None:
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackError(f"the name of {name!r} is not UTF-8") from None
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise PackError(f"{name} is a link out of the folder")
    if not path.is_file():
        what = "a link to a folder or to nothing" if path.is_symlink() else "neither a file nor a folder"
        raise PackError(f"{name} is {what}; such things cannot be sent")


def _add(archive: tarfile.TarFile, folder: Path, name: str) -> None:
    try:
        with (folder / name).open("rb") as file:
            found = os.fstat(file.fileno())
            entry = tarfile.TarInfo(name)
            entry.size = found.st_size
            entry.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
            archive.addfile(entry, file)
    except OSError as error:
        raise PackError(f"{name} cannot be packed: {error.strerror or 'it changed while it was read'}") from error
