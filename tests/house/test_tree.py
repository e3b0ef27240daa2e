"""What must not stand anywhere in the repository, and what every file of a kind must have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRY_NAMES = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("crates", "io"),
    ("proxy.golang", "org"),
    ("maven", "org"),
    ("deb.debian", "org"),
    ("security.debian", "org"),
    ("archive.ubuntu", "com"),
]
"""In two parts, so that this file passes its own test."""
LOCK_NAMES = re.compile(r"(^requirements/.*\.txt|(^|/)[^/]*lock[^/]*\.(json|yaml|toml|lock))$")


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def text_of(name: str) -> str:
    return (ROOT / name).read_bytes().decode("utf-8", "replace")


def test_no_file_names_a_package_registry() -> None:
    pattern = re.compile("|".join(re.escape(".".join(parts)) for parts in REGISTRY_NAMES))
    assert [name for name in tracked_files() if pattern.search(text_of(name))] == []


def test_locks_carry_no_addresses() -> None:
    locks = [name for name in tracked_files() if LOCK_NAMES.search(name)]
    assert len(locks) >= 2
    assert [name for name in locks if re.search(r"https?://|git\+|file:", text_of(name))] == []


@pytest.mark.parametrize("lock", ["run", "test"])
def test_every_locked_package_has_one_version_and_a_hash(lock: str) -> None:
    text = text_of(f"requirements/{lock}.txt").replace("\\\n", "")
    packages = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert packages
    assert [line for line in packages if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_python_modules_open_with_a_sentence() -> None:
    modules = [name for name in tracked_files() if name.startswith("src/") and name.endswith(".py") and text_of(name)]
    assert [name for name in modules if not text_of(name).startswith('"""')] == []
