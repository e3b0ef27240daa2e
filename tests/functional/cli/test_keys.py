"""API keys from the command line, in force on a running server."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Ended, caisson
from tests.helpers.server import Server, free_port


@pytest.fixture
def keys(tmp_path: Path) -> Callable[..., Ended]:
    """`keys(...)` runs `caisson keys ...` on the data folder of this test's server."""
    return lambda *arguments: caisson("keys", *arguments, "--data-dir", tmp_path / "server" / "data", cwd=tmp_path)


def test_a_key_opens_a_server_that_others_reach_until_it_is_revoked(
    keys: Callable[..., Ended], start_server: Callable[..., Server], tmp_path: Path
) -> None:
    made = keys("create", "--scope", "read")
    key = made.stdout.strip()
    port = free_port()
    start_server(listen=f"0.0.0.0:{port}")

    def ls(key: str) -> Ended:
        return caisson("ls", "--json", cwd=tmp_path, CAISSON_API=f"127.0.0.1:{port}", CAISSON_API_KEY=key)

    assert ls(key).code == 0
    assert ls("").code == 3
    assert ls(key[:-1] + ("0" if key[-1] != "0" else "1")).code == 3
    assert keys("revoke", key.split("_")[1]).code == 0
    refused = ls(key)
    assert refused.code == 3
    assert "unauthenticated" in refused.stderr


def test_a_key_has_256_secret_bits_and_is_stored_as_its_hash_only(keys: Callable[..., Ended], tmp_path: Path) -> None:
    key = keys("create", "--tenant", "acme").stdout.strip()
    assert re.fullmatch(r"csn_[0-9a-f]{8}_[0-9a-f]{64}", key)
    secret = key.split("_")[2]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "server" / "data").rglob("*") if path.is_file())
    assert secret.encode() not in stored
    assert hashlib.sha256(key.encode()).hexdigest().encode() in stored


def test_keys_are_listed_without_their_secrets(keys: Callable[..., Ended]) -> None:
    made = json.loads(keys("create", "--tenant", "acme", "--scope", "admin", "--expires", "1d", "--json").stdout)
    listed = keys("ls", "--json").stdout
    assert made["key"] not in listed
    [entry] = json.loads(listed)
    assert entry == {name: value for name, value in made.items() if name != "key"}
    assert (entry["tenant"], entry["scopes"], entry["revoked_at"]) == ("acme", ["admin"], None)
    assert entry["expires_at"] > entry["created_at"]
    assert entry["prefix"] in keys("ls").stdout


def test_a_key_that_does_not_exist_cannot_be_revoked(keys: Callable[..., Ended]) -> None:
    ended = keys("revoke", "csn_12345678")
    assert (ended.code, ended.stdout) == (1, "")
    assert "csn_12345678" in ended.stderr


def test_a_revoked_key_stays_in_the_list_and_cannot_be_revoked_again(keys: Callable[..., Ended]) -> None:
    prefix = json.loads(keys("create", "--json").stdout)["prefix"]
    assert keys("revoke", f"csn_{prefix}").code == 0
    assert keys("revoke", prefix).code == 1
    [entry] = json.loads(keys("ls", "--json").stdout)
    assert entry["revoked_at"] is not None


def test_a_store_that_cannot_be_opened_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "caisson.db").mkdir()
    ended = caisson("keys", "ls", "--data-dir", tmp_path / "data", cwd=tmp_path)
    assert ended.code == 1
    assert ended.stderr.startswith("error:")
    assert "Traceback" not in ended.stderr
