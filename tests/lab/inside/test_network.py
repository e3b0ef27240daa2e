"""A micro-VM's network on real KVM: its card is a TAP that the VMM, in its jail, attaches to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

import pytest

from caisson.backends.microvm.backend import MicrovmBackend
from caisson.host.network.slots import Slots
from tests.helpers.netns import (
    HOST_ADDRESS,
    HOST_PRIVATE,
    NAME_SERVER,
    World,
    namespaces,
    need_namespaces,
    reach_program,
    small_world,
)
from tests.lab.inside.conftest import SPEC, make_backend
from tests.lab.inside.test_kvm import events_of, job, programs, result_of

REACH = reach_program(timeout_s=20)
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Node:
    """A backend on a host that has networks to give."""

    world: World
    slots: Slots
    backend: MicrovmBackend

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine on the host, with its networks open."""

        async def networked() -> None:
            async with self.slots.open():
                await work()

        self.world.run(networked)


@pytest.fixture(scope="session")
def node(vmm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Made before the test: what belongs to a saved machine stays open as long as its backend lives."""
    need_namespaces()
    with small_world(f"lab-{vmm}") as world:
        slots = Slots(f"lab-{vmm}", IPv4Network("198.18.0.0/24"), ahead=0, servers=[(NAME_SERVER, 53)])
        backend = make_backend(vmm, f"lab-net-{vmm}", tmp_path_factory.mktemp("networked"), slots)
        node = Node(world, slots, backend)

        async def prepare() -> None:
            found = await backend.probe()
            assert found.networks == {"none", "egress", "allow"}, found
            await backend.prepare(backend.pool_spec(replace(SPEC, network="egress")))

        node.run(prepare)
        yield node


def test_a_copy_reaches_what_its_network_lets_it_and_its_bytes_are_counted(node: Node) -> None:
    node.world.zone.records = {"api.example.com": ("1.2.3.4",), "rebound.example": ("10.1.2.3",)}
    before = namespaces()
    never = [HOST_PRIVATE, "10.1.2.3", "rebound.example"]
    spec = node.backend.pool_spec(replace(SPEC, network="egress"))

    async def main() -> None:
        for _ in range(2):
            async with node.backend.boot(spec) as sandbox:
                reached = result_of(await events_of(sandbox, job(REACH, ["api.example.com", *never])))
                assert reached.pop("api.example.com") == f"1.2.3.4 {HOST_ADDRESS}"
                assert set(reached.values()) == {"not reached"}
                usage = sandbox.usage()
                assert (usage.rx_bytes or 0) > 0
                assert (usage.tx_bytes or 0) > 0

    node.run(main)
    assert programs() == []
    assert namespaces() == before
