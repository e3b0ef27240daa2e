"""What the command's tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Ended, caisson
from tests.helpers.server import Server


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., Ended]:
    """`run("ls", ...)` is `caisson ls ...` in the test's folder, against the shared server."""
    return lambda *arguments, **more: caisson(*arguments, cwd=tmp_path, CAISSON_API=server.url, **more)
