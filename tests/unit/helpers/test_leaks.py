"""The leak check sees what is left behind, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import leaks
from tests.helpers.processes import descendants


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for what will not go."""
    monkeypatch.setattr(leaks, "PATIENCE_S", 0)


def test_a_process_whose_parent_died_is_still_found() -> None:
    before = leaks.footprint("nowhere")
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    orphan = int(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)
    try:
        with pytest.raises(AssertionError, match=rf"sleep \({orphan}[,)]"):
            leaks.assert_nothing_new(before, "nowhere")
    finally:
        os.kill(orphan, 9)
        os.waitpid(orphan, 0)
    leaks.assert_nothing_new(before, "nowhere")


def test_an_open_file_is_found_by_its_name(tmp_path: Path) -> None:
    before = leaks.footprint("nowhere")
    with (tmp_path / "forgotten").open("w"), pytest.raises(AssertionError, match="forgotten"):
        leaks.assert_nothing_new(before, "nowhere")
    leaks.assert_nothing_new(before, "nowhere")


def test_a_zombie_counts_as_gone() -> None:
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert child not in {process.pid for process in descendants(os.getpid())}
    finally:
        os.waitpid(child, 0)


def test_a_temporary_file_of_a_server_that_ended_is_found(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    leaks.assert_nothing_left(tmp_path, "no-such-node", set())
    (tmp_path / "tmp" / "upload").touch()
    with pytest.raises(AssertionError, match="tmp/upload"):
        leaks.assert_nothing_left(tmp_path, "no-such-node", set())
