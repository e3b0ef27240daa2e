"""One probed isolate backend for the programs that run in a jail alone."""

from __future__ import annotations

import asyncio
import os

import pytest

from caisson.backends.isolate.backend import IsolateBackend
from caisson.sandbox.contract import BackendContext
from caisson.settings import Settings


@pytest.fixture(scope="session")
def isolate(tmp_path_factory: pytest.TempPathFactory) -> IsolateBackend:
    """The backend, on a node of its own; skips with the reason where the host cannot have it."""
    node_dir = tmp_path_factory.mktemp("node")
    backend = IsolateBackend(BackendContext(f"test-{os.getpid()}", node_dir, Settings()))
    found = asyncio.run(backend.probe())
    if not found.available:
        pytest.skip(f"{found.reason} ({found.fix})")
    return backend
