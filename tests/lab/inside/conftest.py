"""Servers whose micro-VMs run on real KVM: in the lab, or on a machine that has it and says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.helpers.server import Server, running_server

PASSED_ON = ("IMAGES_DIR", "AUTO_DOWNLOAD", "FIRECRACKER_BIN", "JAILER_BIN", "MICROVM_KERNEL")


def settings_for(vmm: str) -> dict[str, Any]:
    """Settings of a server on that VMM; skips where it cannot be."""
    if not {"CAISSON_LAB", "CAISSON_TEST_KVM"} & os.environ.keys():
        pytest.skip("needs KVM: `make lab` runs it in an emulated machine; where KVM works, set CAISSON_TEST_KVM=1")
    if vmm == "firecracker" and "CAISSON_FIRECRACKER_BIN" not in os.environ:
        pytest.skip("there is no Firecracker here: neither CAISSON_FIRECRACKER_BIN nor one that was downloaded")
    given = {name.lower(): os.environ[f"CAISSON_{name}"] for name in PASSED_ON if f"CAISSON_{name}" in os.environ}
    return {
        "backends": "microvm",
        "microvm_vmm": vmm,
        # Two virtual machines deep, everything takes its time.
        "start_timeout_s": 120,
        "warm_microvm_python": 0,
        **given,
    }


@pytest.fixture(scope="module", params=["firecracker", "qemu"])
def vmm(request: pytest.FixtureRequest) -> str:
    """Each VMM in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def kvm(vmm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on it."""
    with running_server(tmp_path_factory.mktemp(vmm), **settings_for(vmm)) as server:
        yield server


@pytest.fixture
def http(kvm: Server) -> Iterator[httpx2.Client]:
    """A client of it."""
    with kvm.client(timeout_s=300) as client:
        yield client
