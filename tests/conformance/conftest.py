"""Every conformance test runs once for each dialect this host can run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from caisson.images.catalog import Catalog
from tests.conformance.dialects import IN_ISOLATES, Dialect, Spec
from tests.conformance.languages import IN_MACHINES, UNDER_GVISOR
from tests.helpers.busybox import busybox_image
from tests.helpers.images import IMAGES_DIR, TEMPLATES_DIR
from tests.helpers.leaks import standing
from tests.helpers.oci_images import can_fetch_images, push
from tests.helpers.registry import Registry, running_registry
from tests.helpers.runs import Answer, run
from tests.helpers.server import PATIENCE, START_TIMEOUT_S, Server, running_server

VMM_SETTINGS = {name: f"CAISSON_{name.upper()}" for name in ("microvm_vmm", "firecracker_bin", "jailer_bin")}
"""What says under which VMM machines are tested; a server is not given the environment of its tests otherwise."""


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry | None]:
    """Debian's registry on loopback; None where images from one could not be run anyway."""
    if not can_fetch_images():
        yield None
        return
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def image(registry: Registry | None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """BusyBox, whose entry point is its shell."""
    if registry is None:
        pytest.skip("this machine cannot fetch images from registries")
    return push(registry, busybox_image(), "shell:1", tmp_path_factory.mktemp("layout"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, registry: Registry | None) -> Iterator[Server]:
    """One server, with the guest images of these tests where they were built, and what it fetches beside them."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "images").mkdir()
    for name in ("base", "python", "node", "go"):
        (folder / "images" / name).symlink_to(IMAGES_DIR / name)
    loopback = {} if registry is None else {"oci_insecure_registries": registry.host}
    serving = running_server(folder, images_dir=str(folder / "images"), **loopback)
    with serving as server, standing(server.process.pid):
        yield server


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory, images: Catalog) -> Iterator[Server]:
    """A server whose machines are emulated where there is no KVM; in the lab, where there is, they must not be."""
    in_lab = "CAISSON_LAB" in os.environ
    serving = running_server(
        tmp_path_factory.mktemp("guests"),
        backends="microvm",
        images_dir=str(images.folder),
        templates_dir=str(TEMPLATES_DIR),
        microvm_emulation="false" if in_lab else "true",
        # On a busy machine without KVM, an interpreter can take long to come up.
        start_timeout_s=2 * START_TIMEOUT_S,
        **{name: os.environ[variable] for name, variable in VMM_SETTINGS.items() if variable in os.environ},
    )
    with serving as server, standing(server.process.pid):
        if in_lab:
            with server.client() as http:
                (found,) = http.get("/v1/backends").json()
            assert found["acceleration"] == "kvm", found["reason"]
        yield server


@pytest.fixture
def speaking(request: pytest.FixtureRequest, images: Catalog) -> Server:
    """The server that has the dialect's isolation."""
    chosen: Dialect = request.node.callspec.params["dialect"]
    server: Server = request.getfixturevalue("guests" if chosen.isolation == "microvm" else "server")
    return server


@pytest.fixture
def other_processes(speaking: Server) -> frozenset[int]:
    """The server, which is to be there before the leak check looks: it outlives a test, and so does what it fetches
    images from."""
    return frozenset({speaking.process.pid})


@pytest.fixture
def http(speaking: Server, other_processes: frozenset[int]) -> Iterator[httpx2.Client]:
    """A client of that server."""
    with speaking.client(60 * PATIENCE) as client:
        yield client
    speaking.settle(60 * PATIENCE)


@pytest.fixture(params=IN_ISOLATES + UNDER_GVISOR + IN_MACHINES, ids=str)
def dialect(request: pytest.FixtureRequest, http: httpx2.Client) -> Dialect:
    """A dialect; skipped with the server's reason where its isolation is not available."""
    return available(request.param, http)


def available(dialect: Dialect, http: httpx2.Client) -> Dialect:
    """The dialect, where this server can run it."""
    found = {backend["isolation"]: backend for backend in http.get("/v1/backends").json()}
    backend = found.get(dialect.isolation)
    if backend is None or dialect.runtime not in backend["runtimes"]:
        pytest.skip(f"{dialect}: {backend['reason'] if backend else 'the backend is not loaded'}")
    return dialect


class Speaker:
    """Runs a dialect's sentences."""

    def __init__(self, http: httpx2.Client, dialect: Dialect, image: str | None = None) -> None:
        self._http = http
        self._dialect = dialect
        self._image = image

    def run(self, sentence: Spec | None, **members: Any) -> Answer:
        """Run it to its end; the test is skipped if the language has no such sentence."""
        return run(self._http, **self.spec(sentence), **members)

    def spec(self, sentence: Spec | None) -> dict[str, Any]:
        """The request."""
        if sentence is None:
            pytest.skip(f"{self._dialect.runtime} has no way to say this")
        image = {} if self._image is None else {"image": self._image}
        return {"runtime": self._dialect.runtime, "isolation": self._dialect.isolation, **image, **sentence}


@pytest.fixture
def speak(request: pytest.FixtureRequest, http: httpx2.Client, dialect: Dialect) -> Speaker:
    """Runs sentences of the dialect."""
    return Speaker(http, dialect, request.getfixturevalue("image") if dialect.runtime == "oci" else None)
