"""A store of images from registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.images.oci.store import OciStore


@pytest.fixture
def store(tmp_path: Path) -> OciStore:
    """An empty one."""
    store = OciStore(tmp_path / "oci")
    store.prepare()
    return store
