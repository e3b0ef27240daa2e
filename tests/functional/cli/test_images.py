"""`caisson images` from a shell: keys, pushing, pulling, listing, checking, removing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from caisson.images.catalog import Catalog
from caisson.images.transfer import host_arch
from tests.helpers.command import caisson
from tests.helpers.images import small_image
from tests.helpers.registry import running_registry

pytestmark = pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="mkfs.erofs is not installed")


def test_an_image_goes_from_one_machine_to_another_through_a_registry(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    image = small_image(Catalog(here), packed=True, arch=host_arch())
    public = caisson("images", "keygen", "key.pem", cwd=tmp_path).stdout.strip()
    assert public.startswith("ed25519:")
    assert caisson("images", "keygen", "key.pem", cwd=tmp_path).code == 1
    with running_registry(tmp_path / "registry") as registry:
        place = f"oci://{registry.host}/team"
        options = ("--images-dir", here, "--signing-key", "key.pem")
        pushed = caisson("images", "push", place, *options, cwd=tmp_path)
        assert (pushed.code, pushed.stdout.split()[0]) == (0, f"small@{image.digest}"), pushed.stderr
        settings = {"CAISSON_IMAGES_SOURCE": place, "CAISSON_IMAGES_DIR": str(there)}
        refused = caisson("images", "pull", "small", cwd=tmp_path, **settings)
        assert (refused.code, refused.stdout) == (1, "")
        assert "CAISSON_IMAGES_KEYS" in refused.stderr
        assert Catalog(there).images() == []
        settings["CAISSON_IMAGES_KEYS"] = public
        pulled = caisson("images", "pull", "small", "--json", cwd=tmp_path, **settings)
        assert pulled.code == 0, pulled.stderr
        assert "small: downloading root.erofs" in pulled.stderr
    listed = caisson("images", "ls", "--json", cwd=tmp_path, **settings)
    assert json.loads(listed.stdout) == json.loads(pulled.stdout)
    (entry,) = json.loads(listed.stdout)
    assert (entry["name"], entry["digest"], entry["current"]) == ("small", image.digest, True)
    assert "small" in caisson("images", "ls", cwd=tmp_path, **settings).stdout
    assert caisson("images", "verify", cwd=tmp_path, **settings).code == 0
    whole = caisson("images", "verify", "--json", cwd=tmp_path, **settings)
    assert (whole.code, json.loads(whole.stdout)) == (0, [entry | {"damage": None}])
    (Path(entry["folder"]) / "root.erofs").write_bytes(b"other")
    damaged = caisson("images", "verify", "small", cwd=tmp_path, **settings)
    assert (damaged.code, "root.erofs has other bytes" in damaged.stderr) == (1, True)
    damaged = caisson("images", "verify", "--json", cwd=tmp_path, **settings)
    (told,) = json.loads(damaged.stdout)
    assert (damaged.code, "root.erofs has other bytes" in told["damage"]) == (1, True)
    assert caisson("images", "rm", "small", cwd=tmp_path, **settings).code == 0
    assert json.loads(caisson("images", "ls", "--json", cwd=tmp_path, **settings).stdout) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "nothing"], "there is no definition of an image nothing"),
        (["build", "base", "nothing"], "there are: base, go, node, python, kernel, kernel-cloud"),
        (["pull"], "--from or CAISSON_IMAGES_SOURCE"),
        (["pull", "small", "--from", "nowhere"], "nowhere/small-"),
        (["pull", "small", "--from", "ftp://x/y"], "neither an https nor an oci address"),
        (["push", "https://example.org/x"], "there are no images here yet"),
        (["rm", "small"], "there is no image small"),
        (["verify", "small"], "there is no image small"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = caisson("images", *arguments, "--images-dir", tmp_path / "images", cwd=tmp_path)
    assert done.code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
