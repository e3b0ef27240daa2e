"""Settings, `.env.example` and the reference page agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from caisson.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_example_and_reference_are_what_the_settings_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    assert Settings.model_fields[name].description, f"{name} has no docstring"


def test_the_example_uncommented_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = [line.removeprefix("# ") for line in lines if line.startswith("# CAISSON_")]
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CAISSON_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    defaults = Settings()
    (tmp_path / ".env").write_text("\n".join(given))
    assert Settings() == defaults
    assert defaults.data_dir.is_absolute()
    assert [line for line in lines if line and line[0] != "#"] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data_dir", "/elsewhere"),
        ("images_dir", "/elsewhere"),
        ("firecracker_bin", "/elsewhere"),
        ("images_source", "https://elsewhere.example"),
        ("oci_registries", "elsewhere.example"),
        ("network_forbidden", "10.0.0.0/8"),
    ],
)
def test_what_is_empty_in_the_environment_is_the_default_whatever_the_file_says(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variable = f"CAISSON_{name.upper()}"
    monkeypatch.delenv(variable, raising=False)
    default = getattr(Settings(), name)
    (tmp_path / ".env").write_text(f"{variable}={text}\n")
    assert getattr(Settings(), name) != default
    monkeypatch.setenv(variable, "")
    assert getattr(Settings(), name) == default
