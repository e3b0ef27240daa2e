"""A server that cannot start says what failed and what to do, and nothing else."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Ended, caisson
from tests.helpers.server import Server, free_port


def assert_told(ended: Ended, *parts: str) -> None:
    """One error on stderr with these parts, no traceback, exit code 1."""
    assert ended.code == 1, ended
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, ended.stderr
    assert [part for part in parts if part not in errors[0]] == []
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = caisson("serve", "--listen", address, "--data-dir", tmp_path / "data", cwd=tmp_path)
    assert_told(ended, address, "Address already in use", "--listen")


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = caisson("serve", "--data-dir", tmp_path / "file" / "data", cwd=tmp_path)
    assert_told(ended, str(tmp_path / "file" / "data"), "--data-dir")


def test_a_data_folder_that_another_server_uses(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server()
    address = f"127.0.0.1:{free_port()}"
    ended = caisson("serve", "--listen", address, "--data-dir", server.data_dir, cwd=tmp_path)
    assert_told(ended, str(server.data_dir), "another server", "--data-dir")


def test_a_node_that_another_server_on_this_host_is(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server()
    settings = {"CAISSON_LISTEN": f"127.0.0.1:{free_port()}", "CAISSON_NODE_ID": server.node_id}
    ended = caisson("serve", "--data-dir", tmp_path / "another", cwd=tmp_path, **settings)
    assert_told(ended, server.node_id, "another server", "CAISSON_NODE_ID")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_that_another_server_uses(
    kind: str, request: pytest.FixtureRequest, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path / 'shared.db'}"
    server = start_server(database_url=url)
    settings = {"CAISSON_LISTEN": f"127.0.0.1:{free_port()}", "CAISSON_DATABASE_URL": url}
    ended = caisson("serve", "--data-dir", tmp_path / "another", cwd=tmp_path, **settings)
    assert_told(ended, "another server uses the database", "CAISSON_DATABASE_URL")
    # However it ends, the next one has it at once.
    server.signal(signal.SIGKILL)
    server.wait()
    start_server(database_url=url, node_id=server.node_id)


def test_an_address_that_others_reach_without_any_key(tmp_path: Path) -> None:
    address = f"0.0.0.0:{free_port()}"
    ended = caisson("serve", "--listen", address, "--data-dir", tmp_path / "data", cwd=tmp_path)
    assert_told(ended, address, "no API key", "caisson keys create")


def test_an_address_that_others_reach_with_keys_that_are_in_force_no_more(tmp_path: Path) -> None:
    data = ("--data-dir", tmp_path / "data")
    revoked = caisson("keys", "create", *data, cwd=tmp_path).stdout.strip()
    assert caisson("keys", "revoke", revoked, *data, cwd=tmp_path).code == 0
    caisson("keys", "create", "--expires", "1s", *data, cwd=tmp_path)
    time.sleep(1.1)
    address = f"0.0.0.0:{free_port()}"
    ended = caisson("serve", "--listen", address, *data, cwd=tmp_path)
    assert_told(ended, address, "no API key is in force", "caisson keys create")


def test_a_listen_address_that_is_none(tmp_path: Path) -> None:
    assert_told(caisson("serve", "--listen", "nonsense", cwd=tmp_path), "CAISSON_LISTEN", "nonsense")


def test_a_setting_that_is_wrong_is_named(tmp_path: Path) -> None:
    assert_told(caisson("serve", cwd=tmp_path, CAISSON_QUEUE_LIMIT="many"), "CAISSON_QUEUE_LIMIT")


@pytest.mark.parametrize("name", ["a.b", "../up", "x" * 41])
def test_a_node_name_that_is_none(name: str, tmp_path: Path) -> None:
    assert_told(caisson("serve", cwd=tmp_path, CAISSON_NODE_ID=name), "CAISSON_NODE_ID", "40 letters")


def test_a_backend_that_is_not_installed(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = caisson(
        *("serve", "--listen", address, "--data-dir", tmp_path / "data"), cwd=tmp_path, CAISSON_BACKENDS="warp"
    )
    assert_told(ended, "warp", "CAISSON_BACKENDS")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "caisson.db").write_bytes(b"this is no database at all" * 100)
    address = f"127.0.0.1:{free_port()}"
    ended = caisson("serve", "--listen", address, "--data-dir", data_dir, cwd=tmp_path)
    assert_told(ended, "caisson.db")


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    assert caisson("keys", "ls", "--data-dir", data_dir, cwd=tmp_path).code == 0
    with sqlite3.connect(data_dir / "caisson.db") as database:
        database.execute("update alembic_version set version_num = 'from the future'")
    database.close()
    address = f"127.0.0.1:{free_port()}"
    ended = caisson("serve", "--listen", address, "--data-dir", data_dir, cwd=tmp_path)
    assert_told(ended, "newer")
