"""Old templates are removed by who uses templates, and not by who only looks what this host can do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, cast

import pytest

from caisson.backends.microvm import backend as backend_module
from caisson.backends.microvm.backend import MicrovmBackend
from caisson.backends.microvm.boot import Booter
from caisson.backends.microvm.choice import Choice
from caisson.backends.microvm.snapshot import UNUSED_S
from caisson.backends.microvm.vmm import Kernel
from caisson.images.catalog import Catalog
from caisson.model import Isolation
from caisson.sandbox.contract import BackendContext, Capabilities
from caisson.settings import Settings
from tests.helpers.images import small_image
from tests.helpers.machines import KERNEL, SPEC, Vmm

pytestmark = pytest.mark.anyio


@pytest.fixture
def microvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MicrovmBackend:
    """The backend on a host where machines are said to work."""

    async def kernel(self: MicrovmBackend) -> Kernel:
        return KERNEL

    async def choose(*given: object) -> Choice:
        return Choice(cast(Any, Vmm()), "the test says so")

    async def prepare(self: Booter, kind: object) -> None:
        pass

    monkeypatch.setattr(MicrovmBackend, "_prepare_kernel", kernel)
    monkeypatch.setattr(MicrovmBackend, "_capabilities", lambda *_: Capabilities(Isolation.MICROVM, available=True))
    monkeypatch.setattr(backend_module, "choose", choose)
    monkeypatch.setattr(Booter, "prepare", prepare)
    catalog = Catalog(tmp_path / "images")
    small_image(catalog, "base")
    settings = Settings(images_dir=catalog.folder, templates_dir=tmp_path / "templates")
    return MicrovmBackend(BackendContext("doctor", tmp_path / "node", settings))


async def test_a_look_at_the_host_removes_no_template_and_the_first_use_of_one_removes_the_old(
    microvm: MicrovmBackend, tmp_path: Path
) -> None:
    """`caisson doctor` only looks, maybe beside a server with the same folder."""
    old, new = (tmp_path / "templates" / name for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 2 * UNUSED_S,) * 2)
    assert (await microvm.probe()).available
    assert old.exists()
    await microvm.prepare(SPEC)
    assert not old.exists()
    assert new.exists()
