"""A server with gVisor, from outside: what `auto` chooses, images from a registry, and a server's death."""

from __future__ import annotations

import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from caisson.images.catalog import Catalog
from tests.helpers.leaks import assert_nothing_left
from tests.helpers.oci_images import Entry, make_image, make_layer, need_oci_tools, push
from tests.helpers.processes import descendants
from tests.helpers.registry import running_registry
from tests.helpers.runs import events, logs, outcome, run, submit, text_of, wait
from tests.helpers.server import Server

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

Start = Callable[..., Server]


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


def test_after_sigkill_of_the_server_nothing_of_its_sandboxes_is_left(start: Start) -> None:
    server = start(node_id="gvisor-mortal", warm_python=1)
    with server.client() as http:
        workload_id = submit(http, runtime="bash", isolation="gvisor", code="echo begun; sleep 600")
        next(events(http, workload_id))
    sandboxes = descendants(server.process.pid)
    server.signal(signal.SIGKILL)
    server.wait()
    after = start(node_id="gvisor-mortal")
    with after.client() as http:
        assert outcome(wait(http, workload_id)) == ("failed", "node_lost")
    after.stop()
    assert_nothing_left(server.folder, "gvisor-mortal", sandboxes)
