"""A backup of a live server holds all that was acknowledged before it, and makes a server that goes on from there."""

from __future__ import annotations

import io
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import caisson
from tests.helpers.runs import outcome, submit, wait
from tests.helpers.server import Server, wait_until

FOREVER = "console.log('begun'); for (;;) {}"


def project(code: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("main.js")
        info.size = len(code)
        archive.addfile(info, io.BytesIO(code.encode()))
    return buffer.getvalue()


def test_a_server_goes_on_from_a_backup_of_a_busy_one(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server("busy", max_running=1, warm_wasm=0)
    saved, folder = tmp_path / "saved.tar", tmp_path / "again" / "data"
    with server.client() as http:
        done = wait(http, submit(http, code="console.log('kept'); console.log(2)"))
        running = submit(http, code=FOREVER)
        wait_until(lambda: http.get(f"/v1/workloads/{running}").json()["status"] == "running", "it to run", 20)
        files = {"spec": ("s", b'{"runtime": "node"}'), "archive": ("a", project("export default () => 'archived'"))}
        waiting = http.post("/v1/workloads/async", files=files).json()["id"]
        stop = threading.Event()

        def keep_busy() -> None:
            with server.client() as other:
                while not stop.is_set():
                    submit(other, code="1")

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            made = caisson("backup", saved, "--data-dir", server.data_dir, cwd=tmp_path)
        finally:
            stop.set()
            busy.join()
        assert made.code == 0, made.stderr
        assert saved.stat().st_mode & 0o077 == 0
        assert caisson("backup", saved, "--data-dir", server.data_dir, cwd=tmp_path).code == 1
        refused = caisson("restore", saved, "--data-dir", server.data_dir, cwd=tmp_path)
        assert (refused.code, "stop it first" in refused.stderr) == (1, True)
    restored = caisson("restore", saved, "--data-dir", folder, cwd=tmp_path)
    assert restored.code == 0, restored.stderr
    with start_server("again", warm_wasm=0).client() as http:
        assert http.get(f"/v1/workloads/{done['id']}").json() == done
        lines = http.get(f"/v1/workloads/{done['id']}/logs/history").json()["lines"]
        assert [line["line"] for line in lines] == ["kept", "2"]
        assert outcome(wait(http, running)) == ("failed", "node_lost")
        assert wait(http, waiting)["output"] == "archived"
    assert not [path for path in server.data_dir.iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of a server, `source`, and the backup of it, `saved.tar`."""
    folder = tmp_path_factory.mktemp("good")
    assert caisson("keys", "create", "--data-dir", folder / "source", cwd=folder).code == 0
    assert caisson("backup", folder / "saved.tar", "--data-dir", folder / "source", cwd=folder).code == 0
    return folder


@pytest.mark.parametrize("damage", ["cut", "flipped", "newer", "foreign", "empty"])
def test_a_backup_that_is_no_good_changes_nothing(good: Path, tmp_path: Path, damage: str) -> None:
    saved, folder = tmp_path / "saved.tar", tmp_path / "target"
    content = (good / "saved.tar").read_bytes()
    if damage == "newer":
        source = shutil.copytree(good / "source", tmp_path / "source")
        with sqlite3.connect(source / "caisson.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        assert caisson("backup", saved, "--data-dir", source, cwd=tmp_path).code == 0
    elif damage == "cut":
        saved.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        saved.write_bytes(content[:9_000] + bytes(4_096) + content[13_096:])
    elif damage == "foreign":
        with tarfile.open(saved, "w") as tar:
            link: Any = tarfile.TarInfo("uploads/../../x")
            tar.addfile(link)
    elif damage == "empty":
        saved.write_bytes(b"")
    ended = caisson("restore", saved, "--data-dir", folder, cwd=tmp_path)
    assert ended.code == 1, ended
    assert not (folder / "caisson.db").exists()
    assert [path.name for path in folder.iterdir()] in ([], ["lock"])
