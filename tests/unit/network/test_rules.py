"""What a request for a network comes to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from caisson.destinations import PRIVATE
from caisson.host.network.rules import Policy, gate_rules, host_table, make_policy, open_resolved
from caisson.model import NetworkAllow


def test_egress_is_the_world_and_nothing_named() -> None:
    assert make_policy("egress") == Policy(world=True)


def test_destinations_are_taken_apart() -> None:
    allow = ("10.1.0.0/16", "10.1.2.0/24", "93.0.0.0/8", "10.9.9.9:99", "a.example:443", "A.example:80", "b.example")
    assert make_policy(NetworkAllow(allow=allow)) == Policy(
        ranges=(IPv4Network("93.0.0.0/8"),),
        private_ranges=(IPv4Network("10.1.0.0/16"),),
        ports=((IPv4Address("10.9.9.9"), 99),),
        names={"a.example": frozenset({80, 443}), "b.example": None},
    )


def test_a_name_without_port_outdoes_the_same_with_one() -> None:
    for allow in (("a.example", "a.example:80"), ("a.example:80", "a.example")):
        assert make_policy(NetworkAllow(allow=allow)).names == {"a.example": None}


def test_a_private_address_is_permitted_only_by_what_names_it() -> None:
    policy = make_policy(NetworkAllow(allow=("10.1.0.0/16", "172.16.0.1:5432", "0.0.0.0/0", "a.example")))
    permitted = [policy.permits(IPv4Address(text)) for text in ("10.1.2.3", "172.16.0.1", "172.16.0.2", "192.168.0.1")]
    assert permitted == [True, True, False, False]


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_range_is_private_only_as_a_whole(address: IPv4Address, length: int) -> None:
    network = IPv4Network(f"{address}/{length}", strict=False)
    try:
        policy = make_policy(NetworkAllow(allow=(str(network),)))
    except ValueError:
        return
    private = any(network.subnet_of(each) for each in PRIVATE)
    assert (policy.private_ranges, policy.ranges) == (((network,), ()) if private else ((), (network,)))


def test_what_is_forbidden_stands_before_what_is_allowed() -> None:
    text = gate_rules(make_policy(NetworkAllow(allow=("10.1.0.0/16",))), [IPv4Network("10.1.2.0/24")])
    assert text.index("10.1.2.0/24") < text.index("ip daddr { 10.1.0.0/16 } accept")


def test_an_opening_begins_anew_each_time() -> None:
    commands = open_resolved([IPv4Address("1.2.3.4")], frozenset({443}), 60).split("; ")
    assert [command.split()[0] for command in commands] == ["add", "delete", "add"]
    assert "1.2.3.4 . 443 timeout 60s" in commands[2]


def test_each_node_has_a_table_of_its_own() -> None:
    assert host_table("a") != host_table("b")
