"""Images are built the same byte for byte, hold what they should, and a build that fails leaves nothing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from caisson.images import definitions, mmdebstrap
from caisson.images.build import build, ensure
from caisson.images.catalog import Catalog, Image
from caisson.images.errors import BuildFailed
from caisson.images.manifest import SBOM
from caisson.images.progress import Progress
from caisson.images.tree import walk

pytestmark = pytest.mark.anyio

BUILD_TIMEOUT_S = 900
Instead = Callable[[str], None]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "images")


@pytest.fixture
def instead_of_mmdebstrap(monkeypatch: pytest.MonkeyPatch) -> Instead:
    """Has a shell script run in the place of mmdebstrap; its $1 is where the archive goes."""

    def use(script: str) -> None:
        async def command(definition: object, target: Path, mirror: str | None) -> list[str]:
            return ["sh", "-c", script, "sh", str(target)]

        monkeypatch.setattr(mmdebstrap, "command", command)

    return use


@pytest.mark.timeout(BUILD_TIMEOUT_S)
async def test_the_same_packages_give_the_same_bytes(images: Catalog, catalog: Catalog) -> None:
    definition = definitions.load("base")
    first = images.get("base")
    second = await build(catalog, definition)
    if first.manifest.packages != second.manifest.packages:
        # The mirror has newer packages than when the tests' images were built.
        first, catalog = second, Catalog(catalog.folder.parent / "again")
        second = await build(catalog, definition)
    assert second.manifest == first.manifest
    assert second.digest == first.digest
    assert second.erofs.read_bytes() == first.erofs.read_bytes()
    catalog.verify(second)
    assert await ensure(catalog, definition) == second


@pytest.mark.parametrize("name", definitions.names())
async def test_an_image_says_what_is_in_it(images: Catalog, name: str) -> None:
    image = images.get(name)
    definition = definitions.load(name)
    packages = {package.name: package.version for package in image.manifest.packages}
    assert set(definition.packages) <= packages.keys()
    upstream = packages[definition.main_package].partition(":")[2] or packages[definition.main_package]
    assert upstream.startswith(image.version.rpartition("-")[0].partition("-")[0])
    bill = msgspec.json.decode(image.path(SBOM).read_bytes())
    assert {entry["name"]: entry["versionInfo"] for entry in bill["packages"]} == packages
    assert bill["spdxVersion"] == "SPDX-2.3"
    assert image.manifest.env == definition.env


@pytest.mark.parametrize("name", definitions.names())
async def test_nothing_in_an_image_can_raise_rights_or_differs_between_builds(images: Catalog, name: str) -> None:
    root = images.get(name).root
    epoch_s = definitions.load(name).epoch_s
    for path, status in walk(root):
        assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode), path
        assert status.st_mtime == epoch_s, path
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()), path
    for folder in ("work", "tmp"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o1777
    assert (root / "caisson").is_dir()
    assert "caisson:x:1000:1000::/work:/bin/bash" in (root / "etc/passwd").read_text().splitlines()
    assert not (root / "etc/apt").exists()
    assert not (root / "etc/shadow").exists()


SMOKE = {
    "base": "set -o pipefail; echo '[1, 2]' | jq -c 'map(. + 1)' | grep -x '\\[2,3\\]'",
    "python": "python3 -c 'import ssl, sqlite3, lzma, zoneinfo; zoneinfo.ZoneInfo(\"Europe/Paris\")'",
    "node": """node -e 'process.exit(Intl.DateTimeFormat("fr").resolvedOptions().locale !== "fr" ? 1 : 0)'""",
    "go": "go version && go env GOCACHE",
}


def inside(image: Image, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an image's root, as a program of its user, with nothing but what the image has."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv", "--uid", "1000", "--gid", "1000"]
    command += ["--ro-bind", str(image.root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for name, value in image.manifest.env.items():
        command += ["--setenv", name, value]
    return subprocess.run([*command, "bash", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize("name", definitions.names())
async def test_an_image_runs_its_language(images: Catalog, name: str) -> None:
    done = inside(images.get(name), SMOKE[name])
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_pythons_compiled_files_are_taken_though_all_times_are_the_same(images: Catalog) -> None:
    done = inside(images.get("python"), "python3 -v -c 'import json.decoder, asyncio'")
    assert done.returncode == 0
    assert re.search(r"json/__pycache__/decoder\S+\.pyc matches ", done.stderr)
    assert re.findall(r"code object from '?/usr/lib/\S+\.py'?$", done.stderr, re.M) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="lays a writable folder over the image, which needs root")
def test_go_compiles_nothing_of_its_standard_library(images: Catalog, tmp_path: Path) -> None:
    image = images.get("go")
    upper, work, root = (tmp_path / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    program = 'package main\nimport ("encoding/json"; "fmt"; "net/http")\n'
    program += "func main() { text, _ := json.Marshal(http.StatusOK); fmt.Println(string(text)) }\n"
    inside_script = """
        cd /work && cat >main.go && printf 'module x\\n' >go.mod
        go build -v -ldflags='-s -w' -o /tmp/out . && /tmp/out
    """
    variables = [f"{name}={value}" for name, value in image.manifest.env.items()]
    script = f"""
        mount -t overlay -o lowerdir={image.root},upperdir={upper},workdir={work} overlay {root} || exit 77
        mount -t proc proc {root}/proc && mount --bind /dev {root}/dev
        exec env -i "$@"
    """
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", *variables]
    command += ["/usr/sbin/chroot", "--userspec=1000:1000", str(root), "bash", "-c", inside_script]
    done = subprocess.run(command, input=program, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no overlay file system here")
    assert (done.stdout, done.stderr) == ("200\n", "x\n")


async def test_a_build_that_fails_says_why_and_leaves_nothing(catalog: Catalog, instead_of_mmdebstrap: Instead) -> None:
    instead_of_mmdebstrap("echo 'I: running apt-get update...'; echo 'E: no room on this ship' >&2; exit 25")
    steps: list[Progress] = []
    with pytest.raises(BuildFailed, match="code 25: no room on this ship"):
        await build(catalog, definitions.load("base"), report=steps.append)
    assert [step.step for step in steps] == ["starting mmdebstrap", "fetching package lists"]
    assert catalog.images() == []
    assert list((catalog.folder / ".staging").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("E: invalid /etc/subuid", "usermod --add-subuids"),
        ("E: GPG error: NO_PUBKEY 6ED0E7B82643E131", "debian-archive-keyring"),
        ("E: write error: No space left on device", "TMPDIR"),
        ("E: Temporary failure resolving 'mirror.example'", "apt-get update"),
    ],
)
async def test_what_would_help_is_told(catalog: Catalog, instead_of_mmdebstrap: Instead, said: str, fix: str) -> None:
    instead_of_mmdebstrap(f'echo "{said}"; exit 1')
    with pytest.raises(BuildFailed, match=fix):
        await build(catalog, definitions.load("base"))


async def test_a_cancelled_build_lets_mmdebstrap_clean_up(
    catalog: Catalog, instead_of_mmdebstrap: Instead, tmp_path: Path
) -> None:
    mess = tmp_path / "mess"
    instead_of_mmdebstrap(
        f"trap 'rm {mess}; exit 1' TERM; touch {mess}; echo 'I: downloading packages'; while :; do sleep 0.05; done"
    )
    started = asyncio.Event()
    running = asyncio.ensure_future(
        build(
            catalog,
            definitions.load("base"),
            report=lambda step: started.set() if step.step == "downloading packages" else None,
        )
    )
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not mess.exists()
    assert catalog.images() == []
    assert list((catalog.folder / ".staging").iterdir()) == []


async def test_of_several_that_want_an_image_one_builds_it(catalog: Catalog) -> None:
    from tests.helpers.images import small_image

    built = 0

    async def slowly(catalog: Catalog, definition: definitions.Definition, **rest: object) -> Image:
        nonlocal built
        built += 1
        await asyncio.sleep(0.2)
        image = small_image(catalog, definition.name)
        manifest = msgspec.structs.replace(image.manifest, recipe=definition.digest)
        with catalog.staging() as folder:
            shutil.copytree(image.folder, folder, dirs_exist_ok=True, symlinks=True)
            return catalog.install(folder, manifest)

    definition = definitions.load("base")
    found = await asyncio.gather(*(ensure(Catalog(catalog.folder), definition, make=slowly) for _ in range(3)))
    assert built == 1
    assert len({image.digest for image in found}) == 1
