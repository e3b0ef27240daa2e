"""Micro-VMs through HTTP: what a user asks, is answered, and can watch."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from caisson.backends.microvm.memory import may_write_memory
from caisson.images.catalog import Catalog
from tests.helpers.images import TEMPLATES_DIR
from tests.helpers.leaks import assert_nothing_left
from tests.helpers.processes import descendants
from tests.helpers.runs import run
from tests.helpers.server import Server, node_name, wait_until

SIZES = {"mem_mb": 64, "disk_mb": 64}


def test_a_workload_is_told_what_it_ran_in(start_server: Callable[..., Server], images: Catalog) -> None:
    """Cold when asked for, restored, and warm; the operator sees why the machine is what it is."""
    server = start_server(
        backends="microvm",
        images_dir=images.folder,
        templates_dir=TEMPLATES_DIR,
        microvm_emulation="true",
        warm_microvm_python=0,
    )
    with server.client() as http:
        (found,) = http.get("/v1/backends").json()
        if not found["available"]:
            pytest.skip(found["reason"])
        assert found["acceleration"] in ("kvm", "emulated")
        assert found["facts"]["vmm"].startswith(("qemu ", "firecracker "))
        assert found["facts"]["why"]
        asked = {"runtime": "bash", "isolation": "microvm", "code": "uname -s", "resources": SIZES}
        done = run(http, **asked)
        assert done["status"] == "completed", done["error"]
        assert done["start"] in ("restored", "cold")
        machine = done["machine"]
        assert machine["acceleration"] == found["acceleration"]
        assert machine["restore_ms"] > 0
        assert machine["renew_ms"] > 0
        metrics = http.get("/metrics").text
        vmm = machine["vmm"].partition(" ")[0]
        assert f'caisson_machine_restore_seconds_count{{vmm="{vmm}"}} 1.0' in metrics
        assert f'caisson_machines_failed_total{{reason="panic",vmm="{vmm}"}} 0.0' in metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told to end", "killed"])
def test_a_machine_that_starts_interpreters_ends_with_its_server(
    number: signal.Signals, start_server: Callable[..., Server], images: Catalog
) -> None:
    if not may_write_memory():
        pytest.skip("changing another process's memory takes root")
    settings = {
        "backends": "microvm",
        "images_dir": images.folder,
        "templates_dir": TEMPLATES_DIR,
        "microvm_emulation": "true",
        "warm_microvm_python": 0,
        "node_id": node_name("parent"),
    }
    server = start_server(**settings)
    asked = {"runtime": "python", "isolation": "microvm", "code": "def handler(x): return x", "resources": SIZES}
    with server.client(120) as http:
        (found,) = http.get("/v1/backends").json()
        if not found["available"]:
            pytest.skip(found["reason"])
        if not found["facts"]["vmm"].startswith("qemu"):
            pytest.skip("only QEMU's machines can be saved again and again")
        for each in range(3):
            done = run(http, **asked, input=each)
            assert done["output"] == each, done["error"]
        wait_until(lambda: machines(server) > 0, "a machine that no workload has", 20)
    below = descendants(server.process.pid)
    server.signal(number)
    server.wait()
    if number is signal.SIGKILL:
        # What was killed with no time to clean up is the next one's.
        server = start_server(**settings)
        with server.client(120) as http:
            assert run(http, **asked, input=9)["output"] == 9
        below |= descendants(server.process.pid)
        assert server.stop() == 0
    assert_nothing_left(server.folder, server.node_id, below)


def machines(server: Server) -> int:
    return sum(process.name.startswith("qemu") for process in descendants(server.process.pid))


def test_without_kvm_and_without_leave_to_emulate_it_says_so(
    start_server: Callable[..., Server], images: Catalog
) -> None:
    """With what would help; a request for it is refused before anything runs."""
    server = start_server(backends="isolate,microvm", images_dir=images.folder, templates_dir=TEMPLATES_DIR)
    with server.client() as http:
        found = {backend["isolation"]: backend for backend in http.get("/v1/backends").json()}["microvm"]
        if found["available"]:
            pytest.skip("KVM works here")
        assert found["reason"]
        assert found["fix"]
        answer = http.post("/v1/workloads", json={"runtime": "bash", "isolation": "microvm", "code": "true"})
        assert answer.status_code in (422, 503)
