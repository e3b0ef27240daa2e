"""`deploy/ci/publish-images`, which the workflow runs, publishes what other machines can pull."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from caisson.images.catalog import Catalog
from tests.helpers.command import caisson
from tests.helpers.images import IMAGES_DIR

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/ci/publish-images"


def test_what_ci_publishes_can_be_pulled_elsewhere(images: Catalog, tmp_path: Path) -> None:
    public = caisson("images", "keygen", "key.pem", cwd=tmp_path).stdout.strip()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CAISSON_IMAGES_DIR": str(IMAGES_DIR),
        "CAISSON_IMAGES_TARGET": str(tmp_path / "release"),
        "CAISSON_IMAGES_SIGNING_KEY": str(tmp_path / "key.pem"),
    }
    done = subprocess.run([SCRIPT, "base"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    options = ("--from", tmp_path / "release", "--key", public, "--images-dir", tmp_path / "images")
    pulled = caisson("images", "pull", "base", *options, cwd=tmp_path)
    assert pulled.code == 0, pulled.stderr
    there = Catalog(tmp_path / "images")
    assert there.get("base").digest == images.get("base").digest
    there.verify(there.get("base"))


def test_it_says_what_it_lacks(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "CAISSON_IMAGES_TARGET: where to?" in done.stderr


def test_the_workflow_runs_scripts_that_are_there() -> None:
    text = (ROOT / "deploy/ci/images.yml").read_text()
    (script,) = re.findall(r"deploy/ci/\S+", text.replace("deploy/ci/images.yml", ""))
    assert os.access(ROOT / script, os.X_OK)
    for path in re.findall(r"- (src/\S+)/\*\*", text):
        assert (ROOT / path).is_dir()
