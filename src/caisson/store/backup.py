"""Copies of a data folder, taken while its server runs: the database as of one moment, and the archives it needs.

SQLite's online backup gives a consistent copy without holding up the writer for longer than a few pages take. Archives
of unfinished workloads lie beside the database; they are linked before and after the copy is made, so that whatever the
copy refers to is among them.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from caisson.store.errors import StoreError
from caisson.store.migrate import KNOWN

DATABASE, UPLOADS, NODE_ID = "caisson.db", "uploads", "node-id"
PAGES_PER_STEP = 1_000
TRIES = 5


def back_up(data_dir: Path, target: Path) -> int:
    """Write a backup of `data_dir` to the tar file `target`, which must not exist; returns its size in bytes.

    Raises StoreError, and then leaves nothing behind.
    """
    source = data_dir / DATABASE
    if not source.is_file():
        raise StoreError(f"there is no database in {data_dir}")
    part = target.with_name(f"{target.name}.part")
    try:
        # Opened first, so that whoever may not write there is told before the work.
        with part.open("xb") as file, tempfile.TemporaryDirectory(prefix=".backup-", dir=data_dir) as name:
            part.chmod(0o600)
            folder = Path(name)
            _copy(data_dir, folder)
            with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        tar.add(path, str(path.relative_to(folder)))
            file.flush()
            os.fsync(file.fileno())
        os.link(part, target)
    except FileExistsError as error:
        raise StoreError(f"{error.filename2 or error.filename} exists already") from error
    except OSError as error:
        raise StoreError(f"the backup cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreError(f"the database cannot be read: {error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return target.stat().st_size


def restore(source: Path, data_dir: Path) -> None:
    """Make `data_dir`, which must hold no database, what a backup holds. Raises StoreError, and has changed nothing."""
    if (data_dir / DATABASE).exists():
        raise StoreError(f"{data_dir} holds a database already; move it away first")
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=data_dir) as name:
            folder = Path(name)
            with tarfile.open(source) as tar:
                for member in tar:
                    _extract(tar, member, folder)
            _check(folder / DATABASE)
            (data_dir / UPLOADS).mkdir(mode=0o700, exist_ok=True)
            for path in sorted((folder / UPLOADS).glob("*")):
                path.rename(data_dir / UPLOADS / path.name)
            if (folder / NODE_ID).exists() and not (data_dir / NODE_ID).exists():
                (folder / NODE_ID).rename(data_dir / NODE_ID)
            # Last, and at once: before it there is no database, after it everything is there.
            os.link(folder / DATABASE, data_dir / DATABASE)
            _sync(data_dir)
    except (tarfile.TarError, EOFError) as error:
        raise StoreError(f"{source} is no backup, or damaged: {error}") from error
    except OSError as error:
        raise StoreError(f"the backup cannot be restored: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise StoreError(f"the database in the backup is damaged: {error}") from error


def _copy(data_dir: Path, folder: Path) -> None:
    (folder / UPLOADS).mkdir(mode=0o700)
    for _ in range(TRIES):
        _link_uploads(data_dir, folder)
        with (
            closing(sqlite3.connect(f"{(data_dir / DATABASE).resolve().as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(folder / DATABASE)) as copy,
        ):
            live.backup(copy, pages=PAGES_PER_STEP)
            copy.execute("PRAGMA journal_mode = DELETE").close()
            needed = _needed(copy)
        _link_uploads(data_dir, folder)
        present = {path.name for path in (folder / UPLOADS).iterdir()}
        if needed <= present:
            for name in present - needed:
                (folder / UPLOADS / name).unlink()
            break
        (folder / DATABASE).unlink()
    else:
        raise StoreError("archives of unfinished workloads are missing; the server is too busy, or they were removed")
    if (data_dir / NODE_ID).exists():
        (folder / NODE_ID).write_bytes((data_dir / NODE_ID).read_bytes())


def _link_uploads(data_dir: Path, folder: Path) -> None:
    if not (data_dir / UPLOADS).is_dir():
        return
    for path in (data_dir / UPLOADS).iterdir():
        with suppress(FileNotFoundError, FileExistsError):  # its workload has just ended; it is linked already
            os.link(path, folder / UPLOADS / path.name)


def _needed(copy: sqlite3.Connection) -> set[str]:
    rows = copy.execute(
        "SELECT archive FROM requests JOIN workloads ON workloads.id = requests.workload_id "
        "WHERE archive IS NOT NULL AND finished_at_us IS NULL"
    )
    return {str(archive) for (archive,) in rows}


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    parts = Path(member.name).parts
    known = member.name in (DATABASE, NODE_ID) or (len(parts) == 2 and parts[0] == UPLOADS and parts[1] != "..")
    content = tar.extractfile(member) if member.isreg() and known else None
    if content is None:
        raise tarfile.TarError(f"a backup has no member {member.name!r}")
    path = folder / member.name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("xb") as file:
        path.chmod(0o600)
        while piece := content.read(1 << 20):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _check(database: Path) -> None:
    if not database.exists():
        raise tarfile.TarError("it holds no database")
    with closing(sqlite3.connect(database)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if revision not in KNOWN:
        raise StoreError(f"the backup was made by a newer version of Caisson (its revision is {revision})")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
