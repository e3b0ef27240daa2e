"""What the client's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stamina

from caisson import Client
from tests.helpers.clients import DrivenAsyncClient


@pytest.fixture(params=[Client, DrivenAsyncClient], ids=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Any:
    """The class of the client under test."""
    return request.param


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Waits between attempts are skipped, so that a test needs no time; how many there are stays as it is."""
    with stamina.set_testing(True, attempts=20, cap=True):
        yield
