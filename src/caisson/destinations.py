"""What a workload's `network.allow` may name, and which addresses no workload reaches whatever it names."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

NEVER = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local, where most clouds keep their metadata
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "168.63.129.16/32",  # Azure's host
            "192.0.0.0/24",  # Oracle's metadata, and the inside of our own slots
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
"""Never reached: this host, the local link, metadata services, groups, and what nobody may use."""

PRIVATE = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)
"""Reached only where a range that lies within one of these is named (RFC 1918, 6598, 5737, 2544, 7526)."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.IGNORECASE)
_FORMS = "neither an address range, nor an address or a host name, with or without `:PORT`"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a workload may go: the addresses of a range or of a name; all ports, or one."""

    range: IPv4Network | None = None
    name: str | None = None
    """In small letters, without a dot at its end."""
    port: int | None = None


def parse_destination(text: str) -> Destination:
    """The destination `text` names. Raises ValueError saying what is wrong with it."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        pass
    else:
        return Destination(range=_reachable(network))
    host, colon, digits = text.rpartition(":")
    if not colon:
        return Destination(name=_name(text))
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits[:6]) < 65_536):
        raise ValueError(_FORMS)
    port = int(digits)
    try:
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        return Destination(name=_name(host), port=port)
    if address.version == 6 and not host.startswith("["):
        raise ValueError(_FORMS)
    return Destination(range=_reachable(ipaddress.ip_network(address)), port=port)


def is_private(address: IPv4Address) -> bool:
    """True unless it is an address of the open Internet."""
    return any(address in network for network in (*NEVER, *PRIVATE))


def _reachable(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> IPv4Network:
    if isinstance(network, ipaddress.IPv6Network):
        raise ValueError("an IPv6 destination, and workloads have IPv4 only")
    if any(network.subnet_of(never) for never in NEVER):
        raise ValueError("this host, link-local, multicast or reserved, which no workload may reach")
    return network


def _name(text: str) -> str:
    bare = text.lower().removesuffix(".")
    # A name never ends in digits alone (RFC 3696): that is a mistyped address.
    if len(bare) > 253 or not _NAME.fullmatch(bare) or bare.rpartition(".")[2].isdigit():
        raise ValueError(_FORMS)
    if bare == "localhost" or bare.endswith(".localhost"):
        raise ValueError("this host, which no workload may reach")
    return bare
