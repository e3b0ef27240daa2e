"""Unpacking that is cancelled ends with the thread that puts the root in order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from caisson.host.process import Completed
from caisson.images.oci import unpack as module
from tests.helpers.cancelling import PATIENCE_S, cancel_while_held

pytestmark = pytest.mark.anyio


async def test_who_is_cancelled_while_a_root_is_put_in_order_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = threading.Event(), threading.Event()
    root, clean = tmp_path / "root", module._clean

    async def run(argv: list[str], **rest: object) -> Completed:
        root.mkdir()
        return Completed(tuple(argv), 0, b"", b"")

    def held(root: Path) -> tuple[int, int]:
        begun.set()
        assert cancelled.wait(PATIENCE_S)
        return clean(root)

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "_clean", held)
    task = asyncio.create_task(
        module.unpack(tmp_path / "layout", tmp_path / "blobs", root, max_bytes=1 << 20, timeout_s=1)
    )
    await cancel_while_held(task, begun, cancelled)
    assert (root / "etc" / "hosts").exists()
