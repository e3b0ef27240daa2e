"""`caisson doctor` tells what this host can do, without a server."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.helpers.command import caisson

CHECKS = {
    "platform",
    "python",
    "user namespaces",
    "bubblewrap",
    "cgroups",
    "network",
    "registry images",
    "deno",
    "wasmtime",
    "runsc",
    "data folder",
    "open files",
    "kvm",
}


def test_every_check_has_a_verdict_and_what_is_lacking_a_way_to_get_it(tmp_path: Path) -> None:
    ended = caisson("doctor", "--json", cwd=tmp_path)
    told = json.loads(ended.stdout)
    assert {check["name"] for check in told["checks"]} == CHECKS
    assert {check["verdict"] for check in told["checks"]} <= {"ok", "limited", "missing"}
    assert [check["name"] for check in told["checks"] if check["verdict"] != "ok" and not check["fix"]] == []
    assert ended.code == (0 if told["able"] else 1)


def test_what_it_says_can_run_is_what_the_isolations_offer(tmp_path: Path) -> None:
    told = json.loads(caisson("doctor", "--json", cwd=tmp_path).stdout)
    assert told["able"] == any(isolation["available"] for isolation in told["isolations"])
    shown = caisson("doctor", cwd=tmp_path).stdout
    assert ("This host can run:" in shown) == told["able"]


def test_without_bubblewrap_it_says_which_command_adds_it_and_that_nothing_runs(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").touch(mode=0o755)
    ended = caisson("doctor", "--json", cwd=tmp_path, PATH=str(tools))
    told = json.loads(ended.stdout)
    [bubblewrap] = [check for check in told["checks"] if check["name"] == "bubblewrap"]
    assert (bubblewrap["verdict"], bubblewrap["fix"]) == ("missing", "apt-get install bubblewrap")
    assert (ended.code, told["able"]) == (1, False)


def test_a_bubblewrap_that_makes_no_jail_is_not_taken_for_one(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    (tools / "bwrap").chmod(0o755)
    ended = caisson("doctor", "--json", cwd=tmp_path, PATH=f"{tools}:{os.environ['PATH']}")
    [bubblewrap] = [check for check in json.loads(ended.stdout)["checks"] if check["name"] == "bubblewrap"]
    assert bubblewrap["verdict"] == "missing"
    assert "No permissions" in bubblewrap["found"]


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = caisson("doctor", "--json", cwd=tmp_path, CAISSON_DATA_DIR=str(tmp_path / "file" / "data"))
    [folder] = [check for check in json.loads(ended.stdout)["checks"] if check["name"] == "data folder"]
    assert folder["verdict"] == "missing"
    assert "CAISSON_DATA_DIR" in folder["fix"]


def test_it_leaves_nothing_in_the_data_folder(tmp_path: Path) -> None:
    caisson("doctor", cwd=tmp_path, CAISSON_DATA_DIR=str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()
