"""`caisson backup` and `caisson restore`: a data folder as one file, and back."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caisson.cli.failing import fail
from caisson.cli.keys import DataDir
from caisson.cli.serve import load_settings

if TYPE_CHECKING:
    from caisson.settings import Settings


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    data_dir: DataDir = None,
) -> None:
    """Write workloads, logs, keys, tenants and the archives of unfinished workloads to a tar file.

    The server may run meanwhile. Whoever can read the file can read all of that: keep it as safe as the data folder.
    """
    from caisson.store.backup import back_up
    from caisson.store.errors import StoreError

    settings = _sqlite_only(load_settings(data_dir=data_dir))
    try:
        size = back_up(settings.data_dir, file)
    except StoreError as error:
        fail(error.message)
    typer.echo(f"{file}: {size / 1e6:.1f} MB")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `caisson backup` wrote.")],
    data_dir: DataDir = None,
) -> None:
    """Make an empty data folder what it was at the time of a backup. Workloads that ran then are told to be lost."""
    from caisson.store.backup import restore as carry_out
    from caisson.store.errors import StoreError

    settings = _sqlite_only(load_settings(data_dir=data_dir))
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(open(settings.data_dir / "lock", "a", opener=_private)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fail(f"a server uses the data folder {settings.data_dir}; stop it first")
            carry_out(file, settings.data_dir)
    except StoreError as error:
        fail(error.message)
    except OSError as error:
        fail(f"the data folder {settings.data_dir} cannot be used: {error.strerror}")
    typer.echo(f"{settings.data_dir} is as {file} has it")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sqlite_only(settings: Settings) -> Settings:
    if settings.database_url:
        fail("CAISSON_DATABASE_URL names the database; use its own tools, such as pg_dump")
    return settings
