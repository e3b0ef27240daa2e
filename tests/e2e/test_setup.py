"""`scripts/setup` does nothing twice, and says in words what it cannot do."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup() -> ModuleType:
    """The script as a module."""
    loader = SourceFileLoader("setup_script", str(ROOT / "scripts/setup"))
    spec = importlib.util.spec_from_loader("setup_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_an_old_python_is_refused_with_what_to_do(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 2, "final", 0))
    with pytest.raises(setup.SetupFailed, match=r"needs Python 3\.11 or newer, and .* is 3\.10\.2.*PYTHON=python3\.12"):
        setup.check_python()


def test_what_it_may_not_install_is_told_in_one_line_each(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup, "SEARCH_PATH", "/nonexistent")
    setup.provide_system_packages(for_tests=False)
    lines = capsys.readouterr().out.splitlines()
    assert "missing: bubblewrap (jails every sandbox); add it with: sudo apt-get install bubblewrap" in lines
    for line in lines:
        assert re.fullmatch(r"missing: (\S+) \([^()]+\); add it with: sudo apt-get install \1", line)


def test_it_stops_where_no_environment_can_be_made(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup, "SEARCH_PATH", "/nonexistent")
    monkeypatch.setattr(setup, "has_modules", lambda *names: False)
    with pytest.raises(setup.SetupFailed, match=r"without python3\.\d+-venv"):
        setup.provide_system_packages(for_tests=False)


def test_a_second_run_changes_and_says_nothing() -> None:
    # The interpreter that made the environment, not the environment's own: both would find it up to date or neither.
    python = Path(sys.base_prefix) / "bin" / "python3"
    stamp = ROOT / ".venv/setup.stamp"
    if not stamp.exists():
        pytest.skip("this environment was not made by scripts/setup")
    written_at = stamp.stat().st_mtime_ns
    done = subprocess.run([python, ROOT / "scripts/setup", "--test"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == written_at
