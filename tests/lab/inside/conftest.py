"""The microvm backend on real KVM, under each VMM in turn: in the lab, or on a machine that has KVM and says so."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.microvm.backend import MicrovmBackend
from caisson.host.network.slots import Slots
from caisson.model import Runtime
from caisson.sandbox.contract import BackendContext, SandboxSpec
from caisson.settings import Settings
from tests.lab.inside.patience import be_patient

SPEC = SandboxSpec(Runtime.PYTHON, mem_mb=64, disk_mb=64)
NEEDS_KVM = "needs KVM: `make lab` runs it in an emulated machine that has it; where KVM works, set CAISSON_TEST_KVM=1"
NO_FIRECRACKER = "there is no Firecracker: neither CAISSON_FIRECRACKER_BIN nor one that was downloaded"


@pytest.fixture(scope="session", params=["firecracker", "qemu"])
def vmm(request: pytest.FixtureRequest) -> str:
    """The name of a VMM; skips where it cannot be."""
    name = str(request.param)
    if not {"CAISSON_LAB", "CAISSON_TEST_KVM"} & os.environ.keys():
        pytest.skip(NEEDS_KVM)
    if name == "firecracker" and "CAISSON_FIRECRACKER_BIN" not in os.environ:
        pytest.skip(NO_FIRECRACKER)
    return name


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """`be_patient`, for all tests here."""
    be_patient()


def make_backend(vmm: str, node: str, folder: Path, slots: Slots | None = None, **settings: Any) -> MicrovmBackend:
    """A backend with a folder of its own; images, kernel and programs are those of the environment."""
    made = Settings(microvm_vmm=vmm, start_timeout_s=240, data_dir=folder / "data", **settings)  # type: ignore[arg-type] # one of the names
    return MicrovmBackend(BackendContext(node, folder, made, slots))


@pytest.fixture(scope="session")
def microvm(vmm: str, tmp_path_factory: pytest.TempPathFactory) -> MicrovmBackend:
    """The backend, probed."""
    backend = make_backend(vmm, f"lab-{vmm}", tmp_path_factory.mktemp(vmm))
    found = asyncio.run(backend.probe())
    assert found.available, f"{found.reason} ({found.fix})"
    assert found.acceleration == "kvm"
    assert found.facts["vmm"].startswith(vmm)
    # Before any test: what belongs to a saved machine stays open as long as the backend lives.
    asyncio.run(backend.prepare(backend.pool_spec(SPEC)))
    return backend
