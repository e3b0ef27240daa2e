"""A registry for all the tests, and a store of its own for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caisson.images.oci.pull import Puller, Rules
from caisson.images.oci.skopeo import Access
from caisson.images.oci.store import OciStore
from tests.helpers.registry import Registry, running_registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's registry on loopback."""
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path) -> OciStore:
    """An empty store."""
    store = OciStore(tmp_path / "oci")
    store.prepare()
    return store


@pytest.fixture
def make_puller(store: OciStore) -> Callable[..., Puller]:
    """Makes pullers of the store that take a registry on loopback without TLS, with further rules."""

    def make(address: str, *, timeout_s: float = 30, auth_file: Path | None = None, **rules: object) -> Puller:
        access = Access(auth_file=auth_file, insecure=frozenset({address}), timeout_s=timeout_s)
        return Puller(store, Rules(access=access, **rules))  # type: ignore[arg-type]  # what each test gives

    return make
