"""The application over doubles, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.unit.api.doubles import EngineDouble, client, make_app


@pytest.fixture
def engine() -> EngineDouble:
    return EngineDouble()


@pytest.fixture
async def http(engine: EngineDouble, tmp_path: Path, anyio_backend: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(make_app(engine, tmp_path)) as http:
        yield http
