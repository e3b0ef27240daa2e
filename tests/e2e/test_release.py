"""What is given away: a wheel that anybody can build again byte for byte, and a bill of what it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
HATCHLING = Path(sys.executable).with_name("hatchling")
BUNDLE = ROOT / "src" / "caisson" / "web" / "index.html"
AGENT = ROOT / "src" / "caisson" / "sandbox" / "inside" / "agent"
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "scripts/hatch_build.py")


def build(root: Path, folder: Path) -> Path:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1767225600"}
    command = [str(HATCHLING), "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_a_wheel_is_the_same_wherever_and_whenever_it_is_built_and_lacks_nothing(tmp_path: Path) -> None:
    for built, instead in ((BUNDLE, "make web"), (AGENT, "apt-get install musl-tools && make setup")):
        if not built.exists():
            pytest.skip(f"{built.name} is not built: {instead}")
    copy = tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns("__pycache__")
    # `copy` gives every file the time of now; the order in which a folder lists them is another one, too.
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored, copy_function=shutil.copy)
    for name in NEEDED:
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    here, there = build(ROOT, tmp_path / "one"), build(copy, tmp_path / "two")
    assert here.read_bytes() == there.read_bytes()
    with zipfile.ZipFile(here) as wheel:
        names = set(wheel.namelist())
    inside = {"agent", "python.py", "node.mjs", "go-build", "go-main", "mend.so"}
    assert {f"caisson/sandbox/inside/{name}" for name in inside} <= names
    assert {"caisson/web/index.html", "caisson/backends/isolate/harness/harness.js"} <= names
    assert any(re.fullmatch(r"caisson/web/assets/.+\.js", name) for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tmp"))]


def test_a_wheel_without_its_dashboard_is_not_built(tmp_path: Path) -> None:
    for name in NEEDED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src" / "caisson").mkdir(parents=True)
    (tmp_path / "src" / "caisson" / "__init__.py").touch()
    done = subprocess.run(
        [HATCHLING, "build", "-t", "wheel"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "first: make web" in done.stderr


def test_the_bill_of_materials_is_valid_and_names_every_locked_package(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        subprocess.run([sys.executable, ROOT / "scripts/sbom", tmp_path / name], check=True, timeout=60)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(texts[0]) is None
    locked = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / "requirements/run.txt").read_text(), re.M)
    bill = json.loads(texts[0])
    assert {(each["name"], each["version"]) for each in bill["components"]} == set(locked)
    assert all(each["hashes"] for each in bill["components"])
