"""One probed microvm backend for all tests here, emulated where there is no KVM, with its templates made."""

from __future__ import annotations

import asyncio
import os

import pytest

from caisson.backends.microvm.backend import MicrovmBackend
from caisson.images.catalog import Catalog
from caisson.model import Runtime
from caisson.sandbox.contract import BackendContext, SandboxSpec
from caisson.settings import Settings
from tests.helpers.images import TEMPLATES_DIR

SPECS = [
    *(SandboxSpec(runtime, mem_mb=64, disk_mb=64) for runtime in (Runtime.BASH, Runtime.PYTHON)),
    SandboxSpec(Runtime.BASH, mem_mb=100, disk_mb=100, cpus=1.5),
    SandboxSpec(Runtime.GO, mem_mb=256, disk_mb=64),
]


@pytest.fixture(scope="session")
def microvm(tmp_path_factory: pytest.TempPathFactory, images: Catalog) -> MicrovmBackend:
    """The backend, on a node of its own; skips with the reason where the host cannot have it."""
    settings = Settings(images_dir=images.folder, templates_dir=TEMPLATES_DIR, microvm_emulation=True)
    backend = MicrovmBackend(BackendContext(f"test-{os.getpid()}", tmp_path_factory.mktemp("node"), settings))
    found = asyncio.run(backend.probe())
    if not found.available:
        pytest.skip(f"{found.reason} ({found.fix})")
    for spec in SPECS:
        asyncio.run(backend.prepare(spec))
    return backend
