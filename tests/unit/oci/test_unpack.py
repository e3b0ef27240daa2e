"""Unpacking that is cancelled ends with the thread that puts the root in order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from caisson.host.process import Completed
from caisson.images.oci import unpack as module

pytestmark = pytest.mark.anyio

PATIENCE_S = 30


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
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    over_too_early = task.done()
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not over_too_early
    assert (root / "etc" / "hosts").exists()
