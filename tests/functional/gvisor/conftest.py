"""One probed gvisor backend for all tests here."""

from __future__ import annotations

import asyncio
import os

import pytest

from caisson.backends.gvisor.backend import GvisorBackend
from caisson.images.catalog import Catalog
from caisson.sandbox.contract import BackendContext
from caisson.settings import Settings


@pytest.fixture(scope="session")
def gvisor(tmp_path_factory: pytest.TempPathFactory, images: Catalog) -> GvisorBackend:
    """The backend, on a node of its own; skips with the reason where the host cannot have it."""
    settings = Settings(images_dir=images.folder)
    backend = GvisorBackend(BackendContext(f"test-{os.getpid()}", tmp_path_factory.mktemp("node"), settings))
    found = asyncio.run(backend.probe())
    if not found.available:
        pytest.skip(f"{found.reason} ({found.fix})")
    return backend
