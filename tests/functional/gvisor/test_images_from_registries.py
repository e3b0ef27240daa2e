"""Runtime oci in gVisor: an image from a registry runs as it says, and as the user changes it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from caisson.backends.gvisor.backend import GvisorBackend
from caisson.errors import ImageNotFound
from caisson.images.catalog import Catalog
from caisson.model import Runtime
from caisson.sandbox.contract import BackendContext, Job, SandboxSpec
from caisson.settings import Settings
from tests.helpers.busybox import busybox_image
from tests.helpers.oci_images import Entry, make_image, make_layer, need_oci_tools, push
from tests.helpers.registry import Registry, running_registry
from tests.helpers.sandboxes import Ran, job, run_job


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's registry on loopback."""
    need_oci_tools()
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def backend(
    gvisor: GvisorBackend, registry: Registry, images: Catalog, tmp_path_factory: pytest.TempPathFactory
) -> GvisorBackend:
    """A backend that takes images from the registry, and keeps them in a folder of its own."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("base",):
        (folder / name).symlink_to(images.folder / name)
    settings = Settings(images_dir=folder, oci_insecure_registries=(registry.host,))
    backend = GvisorBackend(BackendContext(f"oci-{os.getpid()}", tmp_path_factory.mktemp("node"), settings))
    assert Runtime.OCI in asyncio.run(backend.probe()).runtimes
    return backend


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """BusyBox with a user, a program and settings."""
    return push(registry, busybox_image(), "say:1", tmp_path_factory.mktemp("layout"))


def run(backend: GvisorBackend, image: str, **rest: object) -> Ran:
    wanted: Job = job({}, runtime=Runtime.OCI, entrypoint="-", image=image, **rest)
    asyncio.run(backend.prepare(SandboxSpec(Runtime.OCI, 64, 64, image=image)))
    return run_job(backend, wanted)


def test_an_image_runs_as_it_says(backend: GvisorBackend, image: str) -> None:
    ran = run(backend, image, stdin=b"heard\n")
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "user 1001:1002 in /srv/app",
        "from the image /home/app",
        "written",
        "heard",
    ]
    assert ran.exited.code == 0


def test_command_arguments_and_variables_are_the_users(backend: GvisorBackend, image: str) -> None:
    ran = run(backend, image, command=("-c", 'echo "$A $0 $1"; exit 3'), args=("x", "y"), env={"A": "mine"}, stdin=b"")
    assert (ran.stdout, ran.exited.code) == ("mine x y\n", 3)


def test_what_one_workload_writes_the_next_does_not_see(backend: GvisorBackend, image: str) -> None:
    script = "ls /srv/app /work /home 2>/dev/null; touch /srv/app/left /work/left"
    for _ in range(2):
        ran = run(backend, image, command=("-c", script), stdin=b"")
        assert "left" not in ran.stdout


def test_an_output_file_is_the_result(backend: GvisorBackend, image: str) -> None:
    ran = run(backend, image, command=("-c", 'cat >"$CAISSON_OUTPUT"'), input={"a": 1})
    assert ran.result == {"a": 1}


def test_a_program_that_is_not_in_the_image_is_the_users_mistake(
    backend: GvisorBackend, registry: Registry, tmp_path: Path
) -> None:
    bare = push(registry, make_image(make_layer([Entry("a", b"1")])), "bare:1", tmp_path / "layout")
    assert run(backend, bare, command=("/no/such",)).raised.kind == "invalid_code"
    failure = run(backend, bare).failure
    assert isinstance(failure, ImageNotFound)
    assert "names no program" in failure.message


def test_an_image_that_is_nowhere_is_told_before_anything_boots(backend: GvisorBackend, registry: Registry) -> None:
    with pytest.raises(ImageNotFound, match="there is no image"):
        asyncio.run(backend.prepare(SandboxSpec(Runtime.OCI, 64, 64, image=f"{registry.host}/nowhere:1")))
