"""Fixtures of the tests of images: a web server that can misbehave, and retries without pauses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

from tests.helpers.fileserver import FileServer, running_file_server


@pytest.fixture
def files() -> Iterator[FileServer]:
    """A web server on the loopback address."""
    with running_file_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    """Retry at once."""
    with stamina.set_testing(True, attempts=4, cap=True):
        yield
