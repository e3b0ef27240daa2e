"""A PostgreSQL server of the tests' own: unprivileged, on a unix socket in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.helpers.server import wait_until

START_TIMEOUT_S = 30
SUPERUSER = "caisson"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. `folder` holds its socket and its data."""

    folder: Path
    programs: Path
    pid: int

    def new_database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{SUPERUSER}@/{name}?host={self.folder}"

    def is_up(self) -> bool:
        """True when it takes connections."""
        try:
            psycopg.connect(self._address("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _address(self, database: str) -> str:
        return f"host={self.folder} user={SUPERUSER} dbname={database}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server for as long as the context lasts; skips the test where PostgreSQL is not installed."""
    programs = _programs()
    account = _account()
    # Not pytest's own folder: that is closed to other users, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="caisson-pg-", dir="/tmp"))
    try:
        if account is not None:
            shutil.chown(folder, account)
        data = folder / "data"
        _run([programs / "initdb", "--no-sync", "--auth=trust", f"--username={SUPERUSER}", "-E", "UTF8", data], account)
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            "-k",
            folder,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            # With a database for each test it would start a process for one of them ten times a second.
            "-c",
            "autovacuum=off",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, user=account, stdout=log, stderr=log)
        try:
            server = Postgres(folder, programs, process.pid)
            wait_until(
                lambda: process.poll() is not None or server.is_up(), "PostgreSQL to take connections", START_TIMEOUT_S
            )
            assert process.poll() is None, (folder / "log").read_text()
            yield server
        finally:
            # SIGINT is PostgreSQL's fast shutdown: it breaks the connections that are open.
            process.send_signal(signal.SIGINT)
            process.wait(START_TIMEOUT_S)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """The folder of `initdb` and `postgres`, which Debian keeps out of the search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return Path(on_path).resolve().parent


def _account() -> str | None:
    """The user to run as if we are root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(command: list[str | Path], account: str | None) -> None:
    done = subprocess.run(command, cwd="/", user=account, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
