"""Runtime oci as a user meets it: over HTTP, with the command, and in the list of images."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from caisson.images.catalog import Catalog
from tests.helpers.busybox import busybox_image
from tests.helpers.command import caisson
from tests.helpers.leaks import standing
from tests.helpers.oci_images import Entry, make_image, make_layer, need_oci_tools, push
from tests.helpers.registry import Registry, running_registry
from tests.helpers.runs import logs as logs_of
from tests.helpers.runs import outcome, run, submit, text_of, wait
from tests.helpers.server import Server, running_server


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's registry on loopback."""
    need_oci_tools()
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """BusyBox with a user, a program and settings."""
    return push(registry, busybox_image(), "say:1", tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="module")
def serving(registry: Registry, images: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes images from that registry; its own images lie in a folder of its own."""
    with started(tmp_path_factory.mktemp("oci-server"), registry, images) as server, standing(server.process.pid):
        yield server


def started(folder: Path, registry: Registry, images: Catalog, **settings: Any) -> AbstractContextManager[Server]:
    (folder / "images").mkdir()
    (folder / "images/base").symlink_to(images.folder / "base")
    settings |= {"images_dir": folder / "images", "oci_insecure_registries": registry.host}
    return running_server(folder, backends="gvisor", warm_bash=0, **settings)


@pytest.fixture
def client(serving: Server) -> Iterator[httpx2.Client]:
    """A client of it; skips where gVisor does not work."""
    with serving.client() as client:
        (backend,) = client.get("/v1/backends").json()
        if "oci" not in backend["runtimes"]:
            pytest.skip(f"no oci here: {backend['reason'] or backend['missing']}")
        yield client


def test_an_image_is_fetched_run_and_told_of(client: httpx2.Client, image: str) -> None:
    command = ["-c", 'echo hi; cat >"$CAISSON_OUTPUT"']
    finished = run(client, runtime="oci", image=image, command=command, input={"a": 1})
    assert outcome(finished) == ("completed", None), finished
    assert (finished["isolation_used"], finished["output"]) == ("gvisor", {"a": 1})
    assert text_of(logs_of(client, finished["id"])) == ["hi"]


@pytest.mark.usefixtures("client")
def test_an_image_runs_though_none_is_to_be_kept(
    registry: Registry, images: Catalog, image: str, tmp_path: Path
) -> None:
    with started(tmp_path, registry, images, oci_keep_mb=0) as server, server.client() as client:
        finished = run(client, runtime="oci", image=image, command=["-c", "echo hi"])
        assert outcome(finished) == ("completed", None), finished
        assert text_of(logs_of(client, finished["id"])) == ["hi"]


def test_an_image_that_is_nowhere_fails_its_workload_and_says_so(client: httpx2.Client, registry: Registry) -> None:
    workload = wait(client, submit(client, runtime="oci", image=f"{registry.host}/nowhere:1"))
    assert outcome(workload) == ("failed", "image_not_found")
    assert "there is no image" in workload["error"]["message"]


def test_a_registry_that_is_down_fails_the_start_and_says_so(client: httpx2.Client) -> None:
    workload = wait(client, submit(client, runtime="oci", image="127.0.0.1:1/a:1"))
    assert outcome(workload) == ("failed", "start_failed")
    assert "cannot be reached" in workload["error"]["message"]


def test_a_tenant_has_no_more_images_fetched_than_it_may(
    client: httpx2.Client, serving: Server, registry: Registry, image: str, tmp_path: Path
) -> None:
    second = push(registry, make_image(make_layer([Entry("x", b"1")])), "second:1", tmp_path)
    assert outcome(run(client, runtime="oci", image=image, command=["-c", "true"])) == ("completed", None)
    data = ("--data-dir", serving.data_dir)
    assert caisson("tenants", "set", "default", "--image-mb", "1", *data, cwd=tmp_path).code == 0
    time.sleep(1.1)
    refused = client.post("/v1/workloads/async", json={"runtime": "oci", "image": second})
    assert (refused.status_code, refused.json()["reason"]) == (429, "quota_exceeded"), refused.text
    assert "`image_mb`" in refused.json()["detail"]
    assert outcome(run(client, runtime="oci", image=image, command=["-c", "true"])) == ("completed", None)
    assert caisson("tenants", "rm", "default", *data, cwd=tmp_path).code == 0
    time.sleep(1.1)
    wait(client, submit(client, runtime="oci", image=second))


@pytest.mark.parametrize("image", ["UPPER CASE", "--help", "a:b:c"])
def test_a_name_that_is_no_image_is_refused(client: httpx2.Client, image: str) -> None:
    answer = client.post("/v1/workloads", json={"runtime": "oci", "image": image})
    assert (answer.status_code, answer.json()["member"]) == (422, "image")


def test_the_command_runs_an_image_and_lists_and_removes_it(
    client: httpx2.Client, serving: Server, image: str, tmp_path: Path
) -> None:
    there = {"CAISSON_API": serving.url, "CAISSON_IMAGES_DIR": str(serving.folder / "images")}
    ran = caisson("run", "--image", image, "--", "-c", "echo from $0; exit 7", cwd=tmp_path, **there)
    assert (ran.code, ran.stdout) == (7, "from /bin/sh\n"), ran.stderr
    listed = json.loads(caisson("images", "ls", "--json", cwd=tmp_path, **there).stdout)
    assert image in {row["name"] for row in listed}
    removed = caisson("images", "rm", image, cwd=tmp_path, **there)
    assert (removed.code, removed.stdout) == (0, f"{image} is removed\n"), removed.stderr
    assert image not in caisson("images", "ls", cwd=tmp_path, **there).stdout
