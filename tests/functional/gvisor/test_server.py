"""A server with gVisor, from outside: what `auto` chooses, images from a registry, and a server's death."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from caisson.images.catalog import Catalog
from tests.helpers.leaks import assert_nothing_left
from tests.helpers.oci_images import Entry, make_image, make_layer, need_oci_tools, push
from tests.helpers.processes import Process, descendants
from tests.helpers.registry import running_registry
from tests.helpers.runs import events, logs, outcome, run, submit, text_of, wait
from tests.helpers.server import Server, wait_until

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char folder[256];
    printf("%s %s %u ", argv[0], argc > 1 ? argv[1] : "", getuid());
    printf("%s %s\n", getcwd(folder, sizeof folder), getenv("COLOUR"));
    FILE *file = fopen("/written", "w");
    return file == NULL ? 7 : fputs("x", file) < 0;
}
"""

TRY = """
import os, socket

def reaches(place):
    host, port = place.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False

def handler(places):
    return sorted(os.listdir("/sys/class/net")), [place for place in places if reaches(place)]
"""

Start = Callable[..., Server]


def host_addresses() -> list[str]:
    """The addresses of this machine, loopback apart."""
    listed = subprocess.run(["ip", "-j", "-4", "address", "show", "scope", "global"], check=True, capture_output=True)
    return [each["local"] for device in json.loads(listed.stdout or "[]") for each in device["addr_info"]]


@pytest.fixture
def start(start_server: Start, images: Catalog, tmp_path: Path) -> Start:
    """Starts a server with the guest images, nothing that waits, and images from registries in a folder of its own."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("base", "python"):
        (folder / name).symlink_to(images.folder / name)

    def with_gvisor(**settings: str | int | float) -> Server:
        given: dict[str, str | int | float] = {"warm_python": 0, "warm_go": 0, "warm_bash": 0, "warm_node": 0}
        server = start_server(images_dir=str(folder), **{**given, **settings})
        with server.client() as http:
            found = {backend["isolation"]: backend for backend in http.get("/v1/backends").json()}
        if not found["gvisor"]["available"]:
            pytest.skip(found["gvisor"]["reason"])
        return server

    return with_gvisor


def test_auto_sends_python_here_where_there_are_no_machines_and_says_why(start: Start) -> None:
    with start(backends="isolate,gvisor").client() as http:
        done = run(http, runtime="python", code="def handler(input): return input + 1", input=1)
        assert (done["isolation_used"], done["output"]) == ("gvisor", 2)
        assert "microvm" in done["routing"]


def test_a_server_without_images_takes_those_that_come(start: Start, start_server: Start, tmp_path: Path) -> None:
    start(folder="other", backends="isolate,gvisor").stop()
    here, later = tmp_path / "images", tmp_path / "later"
    later.mkdir()
    settings = {"images_dir": str(later), "warm_bash": 1, "warm_python": 0, "warm_go": 0, "warm_gvisor_node": 0}
    with start_server(backends="isolate,gvisor", **settings).client() as http:
        body = {"runtime": "bash", "code": "echo hi"}
        refused = http.post("/v1/workloads", json=body)
        assert (refused.status_code, "caisson images build" in refused.text) == (422, True)

        def works() -> bool:
            return http.post("/v1/workloads", json=body).status_code == 200

        (later / "base").symlink_to((here / "base").resolve())
        wait_until(works, "the shell to be offered", 60)
        (gvisor,) = [found for found in http.get("/v1/backends").json() if found["isolation"] == "gvisor"]
        assert (gvisor["available"], [pool["runtime"] for pool in gvisor["pool"]]) == (True, ["bash"])
        assert "python" not in gvisor["runtimes"]


def test_an_image_from_a_registry_runs_as_it_says(start: Start, tmp_path: Path) -> None:
    need_oci_tools()
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(PROGRAM)
    subprocess.run(["musl-gcc", "-static", "-o", program, source], check=True)
    layer = make_layer(
        [Entry("program", program.read_bytes(), mode=0o755), Entry("home", kind=tarfile.DIRTYPE, mode=0o755)]
    )
    image = make_image(
        layer, Entrypoint=["/program"], Cmd=["usual"], Env=["COLOUR=blue"], WorkingDir="/home", User="123:456"
    )
    with running_registry(tmp_path / "registry") as registry:
        name = push(registry, image, "tests/program:1", tmp_path)
        with start(oci_insecure_registries=registry.host).client() as http:
            done = run(http, runtime="oci", image=name)
            assert text_of(logs(http, done["id"])) == ["/program usual 123 /home blue"]
            assert (*outcome(done), done["exit_code"]) == ("failed", "exit_nonzero", 7)
            other = run(http, runtime="oci", image=name, command=["other"], env={"COLOUR": "red"})
            assert text_of(logs(http, other["id"])) == ["/program other 123 /home red"]
            missing = run(http, runtime="oci", image=f"{registry.host}/tests/nothing:1")
            assert outcome(missing) == ("failed", "image_not_found")


def test_a_workload_with_a_network_has_one_of_its_own_and_never_reaches_this_host(start: Start) -> None:
    server = start(backends="gvisor")
    with server.client() as http, socket.create_server(("0.0.0.0", 0)) as listener:
        (backend,) = http.get("/v1/backends").json()
        if "egress" not in backend["networks"]:
            pytest.skip("this host gives sandboxes no network")
        places = [f"{address}:{listener.getsockname()[1]}" for address in ("127.0.0.1", *host_addresses())]
        for network in ("egress", {"allow": ["192.0.2.1"]}):
            done = run(http, runtime="python", isolation="gvisor", network=network, code=TRY, input=places)
            assert outcome(done) == ("completed", None), done
            devices, reached = done["output"]
            assert len(devices) == 2
            assert reached == []
            assert done["usage"]["tx_bytes"] is not None
        alone = run(http, runtime="python", isolation="gvisor", code=TRY, input=places)
        assert alone["output"] == [["lo"], []]
    server.stop()
    assert not [path.name for path in Path("/run/netns").glob(f"*{server.node_id}*")]


@pytest.mark.parametrize("part", ["runsc", "gofer", "sentry", "stub"])
def test_whatever_of_a_sandbox_is_killed_its_workload_ends_as_crashed(start: Start, part: str) -> None:
    """Also what gVisor itself would wait for until the workload's time is over."""
    server = start(backends="gvisor")
    with server.client() as http:
        code = "import time\ndef handler(input):\n    print('on', flush=True)\n    time.sleep(50)"
        workload_id = submit(http, runtime="python", code=code, resources={"timeout_s": 50})
        next(events(http, workload_id))

        sandboxes: list[Process] = []

        def is_alone() -> bool:
            sandboxes[:] = [each for each in descendants(server.process.pid) if each.parent == server.process.pid]
            return len(sandboxes) == 1

        wait_until(is_alone, "the one that is booted to see what works to be gone", 30)
        (outer,) = sandboxes
        inside = descendants(outer.pid)
        parts = {"gofer" if is_gofer(each) else "sentry": each for each in inside if each.parent == outer.pid}
        parts |= {"runsc": outer, "stub": max(inside - {*parts.values()}, key=lambda each: each.pid)}
        os.kill(parts[part].pid, signal.SIGKILL)
        assert outcome(wait(http, workload_id, 25)) == ("failed", "sandbox_crashed")


def is_gofer(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"runsc-gofer")


def test_after_sigkill_of_the_server_nothing_of_its_sandboxes_is_left(start: Start) -> None:
    server = start(warm_python=1)
    with server.client() as http:
        workload_id = submit(http, runtime="bash", isolation="gvisor", code="echo begun; sleep 600")
        next(events(http, workload_id))
    sandboxes = descendants(server.process.pid)
    server.signal(signal.SIGKILL)
    server.wait()
    after = start(node_id=server.node_id)
    with after.client() as http:
        assert outcome(wait(http, workload_id)) == ("failed", "node_lost")
    after.stop()
    assert_nothing_left(server.folder, server.node_id, sandboxes)
