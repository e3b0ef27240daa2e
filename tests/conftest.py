"""Fixtures that every kind of test shares."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from hypothesis import settings as hypothesis_settings

from caisson.backends.isolate.backend import IsolateBackend
from caisson.images.catalog import Catalog
from caisson.sandbox.contract import BackendContext
from caisson.settings import Settings
from tests.helpers.images import guest_images, provide_guest_images
from tests.helpers.leaks import STANDING, assert_nothing_new, footprint, standing
from tests.helpers.postgres import Postgres, running_postgres
from tests.helpers.processes import adopt_orphans, bury_orphans
from tests.helpers.server import Server, running_server

UNCHECKED = {"house", "unit"}
"""Folders whose tests start nothing that could be left behind."""

# A test machine with two busy cores may take any time for one example.
hypothesis_settings.register_profile("caisson", deadline=None)
hypothesis_settings.load_profile("caisson")


def pytest_configure() -> None:
    adopt_orphans()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what tests will need and takes longer than a test may; set apart what stays until the end."""
    if not session.config.option.collectonly and any(
        "images" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        provide_guest_images()
    # The leak check has garbage collected around each test. What was imported until now lives on anyway, and looking
    # through it each time took a third of the time of all tests.
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name what failed at once: a run takes minutes."""
    if report.failed:
        print(f"\nfailed: {report.nodeid} ({report.when})", flush=True)  # noqa: T201 - for whoever watches


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """`@pytest.mark.anyio` tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all the tests that need no settings of their own."""
    with running_server(tmp_path_factory.mktemp("server")) as server, standing(server.process.pid):
        yield server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers with settings: `start_server(warm_node=0)`; stopped and checked at the test's end."""
    with ExitStack() as stack:

        def start(folder: str = "server", **settings: str | int | float) -> Server:
            return stack.enter_context(running_server(tmp_path / folder, **settings))

        yield start


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    with running_postgres() as server, standing(server.pid):
        yield server


@pytest.fixture(scope="session")
def images() -> Catalog:
    """The guest images `base`, `python`, `node` and `go`, built once for all runs of the tests."""
    return guest_images()


@pytest.fixture(scope="session")
def isolate(tmp_path_factory: pytest.TempPathFactory) -> IsolateBackend:
    """The isolate backend, on a node of its own; skips with the reason where the host cannot have it."""
    backend = IsolateBackend(BackendContext(f"test-{os.getpid()}", tmp_path_factory.mktemp("node"), Settings()))
    found = asyncio.run(backend.probe())
    if not found.available:
        pytest.skip(f"{found.reason} ({found.fix})")
    return backend


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    """A plain HTTP client of the shared server."""
    with server.client() as client:
        yield client


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing a functional test started, mounted or opened may outlive it."""
    if request.path.relative_to(Path(__file__).parent).parts[0] in UNCHECKED:
        yield
        return
    shared: Server | None = request.getfixturevalue("server") if "server" in request.fixturenames else None
    apart_from = frozenset(STANDING)
    if "other_processes" in request.fixturenames:
        apart_from |= request.getfixturevalue("other_processes")
    marker = str(tmp_path_factory.getbasetemp())
    before = footprint(marker, apart_from)
    yield
    # The test may have been the first to need one of the servers.
    assert_nothing_new(before, marker, apart_from | STANDING)
    bury_orphans()
    if shared:
        shared.settle()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the servers a failed test had to do with."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Server):
                report.sections.append((f"log of {value.url}", value.log()[-8000:]))
    return report
