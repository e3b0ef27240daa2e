"""A runsc that is missing, another program, hung, or broken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from caisson.backends.gvisor import runsc
from caisson.backends.gvisor.backend import GvisorBackend
from caisson.images.catalog import Catalog
from caisson.sandbox.contract import BackendContext, Capabilities
from caisson.settings import Settings

Probe: TypeAlias = Callable[[str], Capabilities]
NODE = f"test-faults-{os.getpid()}"


@pytest.fixture
def probe(tmp_path: Path, images: Catalog, gvisor: GvisorBackend) -> Probe:
    """What the backend says of a host where runsc is this shell script; skipped where there is no real one."""

    def with_script(script: str) -> Capabilities:
        path = tmp_path / "runsc"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        settings = Settings(images_dir=images.folder, runsc=str(path), start_timeout_s=5)
        node = tmp_path / "node"
        node.mkdir(exist_ok=True)
        return asyncio.run(GvisorBackend(BackendContext(NODE, node, settings)).probe())

    return with_script


def test_without_runsc_there_is_no_gvisor_and_the_way_to_get_it_is_told(tmp_path: Path, images: Catalog) -> None:
    settings = Settings(images_dir=images.folder, runsc=str(tmp_path / "nothing"))
    found = asyncio.run(GvisorBackend(BackendContext(NODE, tmp_path, settings)).probe())
    assert not found.available
    assert "is not installed" in (found.reason or "")
    assert "runsc" in (found.fix or "")


def test_without_images_there_is_no_gvisor_and_the_way_to_get_them_is_told(
    tmp_path: Path, gvisor: GvisorBackend
) -> None:
    settings = Settings(images_dir=tmp_path)
    found = asyncio.run(GvisorBackend(BackendContext(NODE, tmp_path, settings)).probe())
    assert (found.available, found.fix) == (False, "caisson images build")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo another program", "is no runsc"),
        ("exit 3", "failed with code 3"),
        ("exec sleep 60", "took longer"),
        ('[ "$1" = --version ] && echo "runsc version 0.0~20150101" || echo "  -platform string"', "lacks"),
    ],
)
def test_a_runsc_that_cannot_be_used_makes_gvisor_unavailable(
    script: str, reason: str, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "took longer":
        monkeypatch.setattr(runsc, "_PATIENCE_S", 0.5)
    found = probe(script)
    assert not found.available
    assert reason in (found.reason or "")


def test_what_a_failed_start_said_is_kept_and_named(probe: Probe, tmp_path: Path) -> None:
    found = probe('case " $* " in *" run "*) echo broken today >&2; exit 1 ;; *) exec runsc "$@" ;; esac')
    assert not found.available
    assert "broken today" in (found.reason or "")
    (kept, *_) = (tmp_path / "node" / "gvisor" / "failed").iterdir()
    assert str(kept) in (found.reason or "")
    assert (kept / "stderr.txt").read_text() == "broken today\n"
