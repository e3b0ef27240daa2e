"""What `network.allow` may name."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.destinations import NEVER, Destination, is_private, parse_destination


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("10.1.0.0/16", Destination(range=IPv4Network("10.1.0.0/16"))),
        ("10.1.2.3/16", Destination(range=IPv4Network("10.1.0.0/16"))),
        ("0.0.0.0/0", Destination(range=IPv4Network("0.0.0.0/0"))),
        ("93.184.216.34", Destination(range=IPv4Network("93.184.216.34/32"))),
        ("93.184.216.34:80", Destination(range=IPv4Network("93.184.216.34/32"), port=80)),
        ("example.com", Destination(name="example.com")),
        ("API.Example.com.:443", Destination(name="api.example.com", port=443)),
        ("_sip.a-b.example:65535", Destination(name="_sip.a-b.example", port=65535)),
        ("a", Destination(name="a")),
    ],
)
def test_ranges_addresses_and_names_are_destinations(text: str, destination: Destination) -> None:
    assert parse_destination(text) == destination


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.0/33", "256.1.1.1", "1.2.3", "1.2.3.4.5", "10.0.0.0/8:80", "a b", "a:0", "a:65536", "a:", ":80"),
        *("http://a", "-a", "a-", "a..b", ".", "", "[::g]:1", "a:٣", "*.a", "a\n", "a:1:2", f"{'a' * 64}.b"),
        ".".join(["a" * 63] * 4),
    ],
)
def test_anything_else_is_no_destination(text: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse_destination(text)


@pytest.mark.parametrize("text", ["fd00::/8", "::1", "[::1]:443", "2001:db8::1"])
def test_ipv6_is_no_destination_and_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="IPv4 only"):
        parse_destination(text)


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:80", "169.254.169.254", "169.254.0.0/16", "224.0.0.1", "255.255.255.255", "0.0.0.0", "localhost:1"],
)
def test_what_no_workload_may_reach_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="no workload may reach"):
        parse_destination(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "100.64.0.1", "172.31.0.1", "192.168.1.1", "198.18.0.1", "127.0.0.1"])
def test_addresses_that_are_not_of_the_internet_are_private(text: str) -> None:
    assert is_private(IPv4Address(text))


@given(st.ip_addresses(v=4))
def test_an_address_counts_as_python_counts_it(address: IPv4Address) -> None:
    if not any(address in network for network in NEVER) and address not in IPv4Network("192.88.99.0/24"):
        assert is_private(address) != address.is_global or address in IPv4Network("100.64.0.0/10")


@given(st.text(max_size=40))
def test_any_text_is_a_destination_or_refused(text: str) -> None:
    try:
        destination = parse_destination(text)
    except ValueError:
        return
    assert (destination.range is None) != (destination.name is None)
