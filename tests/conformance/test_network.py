"""What a workload's `network` gives it and what it never does, in every isolation that gives one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from caisson.images.catalog import Catalog
from tests.helpers.images import TEMPLATES_DIR
from tests.helpers.leaks import standing
from tests.helpers.netns import (
    HOST_ADDRESS,
    HOST_PRIVATE,
    NAME_SERVER,
    World,
    in_namespace,
    need_namespaces,
    reach_program,
    small_world,
)
from tests.helpers.runs import Answer, outcome, run
from tests.helpers.server import Server, running_server

REACH = reach_program(timeout_s=3)
NEVER = [HOST_ADDRESS, HOST_PRIVATE, "169.254.169.254", "127.0.0.1:8080", "192.0.0.1", "10.1.2.3", "192.168.7.7"]
REACHED = f"1.2.3.4 {HOST_ADDRESS}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A host and a world of their own."""
    need_namespaces()
    with small_world(f"c{os.getpid()}") as world:
        world.zone.records = {"api.example.com": ("1.2.3.4",), "rebound.example": ("10.1.2.3",)}
        yield world


@pytest.fixture(scope="module")
def host(world: World, images: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on that host."""
    settings: dict[str, Any] = {
        **{"backends": "gvisor,microvm", "images_dir": str(images.folder), "name_servers": NAME_SERVER},
        **{"warm_python": 0, "warm_gvisor_node": 0, "warm_go": 0, "warm_bash": 0},
        **{"warm_microvm_python": 0, "warm_microvm_node": 0, "microvm_emulation": "true"},
        # On a busy machine without KVM, an interpreter can take long to come up.
        **{"templates_dir": str(TEMPLATES_DIR), "start_timeout_s": 60},
    }
    context = running_server(tmp_path_factory.mktemp("networked"), **settings)
    # Started, asked and stopped by threads that are on that host; its own loopback is all they share with this one.
    server = in_namespace(world.host, context.__enter__)
    try:
        with standing(server.process.pid):
            yield server
    finally:
        in_namespace(world.host, lambda: context.__exit__(None, None, None))


@pytest.fixture(params=["gvisor", "microvm"])
def isolation(request: pytest.FixtureRequest, world: World, host: Server) -> str:
    """An isolation that gives networks here."""
    name = str(request.param)
    found = {each["isolation"]: each for each in ask(world, host, lambda http: http.get("/v1/backends").json())}
    if name not in found or not found[name]["available"]:
        pytest.skip(f"{name}: {found[name]['reason'] if name in found else 'the backend is not loaded'}")
    assert set(found[name]["networks"]) == {"none", "egress", "allow"}
    return name


def ask(world: World, host: Server, work: Any) -> Any:
    def on_host() -> Any:
        with host.client() as http:
            return work(http)

    return in_namespace(world.host, on_host)


def reach(world: World, host: Server, isolation: str, network: object, *places: str) -> Answer:
    def work(http: httpx2.Client) -> Answer:
        spec = {"runtime": "python", "isolation": isolation, "code": REACH, "input": [*places]}
        return run(http, **spec, network=network)

    workload: Answer = ask(world, host, work)
    assert outcome(workload) == ("completed", None), workload
    return workload


def test_without_a_network_nothing_is_reached(world: World, host: Server, isolation: str) -> None:
    workload = reach(world, host, isolation, "none", "1.2.3.4", "api.example.com", *NEVER)
    assert set(workload["output"].values()) == {"not reached"}
    assert workload["usage"]["rx_bytes"] is None


def test_egress_reaches_the_world_and_nothing_else_and_is_counted(world: World, host: Server, isolation: str) -> None:
    workload = reach(world, host, isolation, "egress", "1.2.3.4", "api.example.com:443", "rebound.example", *NEVER)
    found = workload["output"]
    assert (found.pop("1.2.3.4"), found.pop("api.example.com:443")) == (REACHED, REACHED)
    assert set(found.values()) == {"not reached"}, found
    assert workload["usage"]["rx_bytes"] > 0
    assert workload["usage"]["tx_bytes"] > 0


def test_what_is_allowed_is_reached_and_nothing_else(world: World, host: Server, isolation: str) -> None:
    network = {"allow": ["api.example.com:443", "10.1.0.0/16"]}
    places = ["api.example.com:443", "10.1.2.3", "api.example.com:80", "93.184.216.34", "10.2.2.3", "other.example"]
    never = [place for place in NEVER if not place.startswith("10.1.")]
    found = reach(world, host, isolation, network, *places, *never)["output"]
    assert (found.pop("api.example.com:443"), found.pop("10.1.2.3")) == (REACHED, f"10.1.2.3 {HOST_ADDRESS}")
    assert set(found.values()) == {"not reached"}, found


def test_nothing_is_left_of_a_network_after_its_workload(world: World, host: Server, isolation: str) -> None:
    def slots() -> set[str]:
        return {path.name for path in Path("/run/netns").iterdir() if host.node_id in path.name}

    reach(world, host, isolation, "egress", "1.2.3.4")
    used = slots()
    reach(world, host, isolation, "egress", "1.2.3.4")
    # One waits for the next workload, and it is another one each time.
    assert slots() != used
