"""What passes: nftables rule sets, as texts, for a slot's gate and for the host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from caisson.destinations import NEVER, PRIVATE, parse_destination
from caisson.model import Network, NetworkAllow

TABLE = "caisson"
"""The table inside a gate; a gate is nobody else's, so that the name need not tell whose it is."""
INSIDE = "inside"
"""The gate's device towards the sandbox."""
UPLINK = "uplink"
"""The gate's device towards the host."""
HOST_PREFIX = "caisson"
"""Begins the names of the host's devices towards gates; a number follows."""
GUEST_ADDRESS = IPv4Address("192.0.0.2")
GATE_ADDRESS = IPv4Address("192.0.0.1")
"""Gateway and name server of every sandbox. Of 192.0.0.0/29, which RFC 7335 keeps for links that end on one host."""
PREFIX_LENGTH = 29
MAX_CONNECTIONS = 2_048
"""Of one sandbox at once: the host follows each of them, and has room for a limited number."""
MAX_RESOLVED = 4_096


@dataclass(frozen=True, slots=True)
class Policy:
    """A workload's `network`, taken apart."""

    world: bool = False
    """Everything on the open Internet."""
    ranges: tuple[IPv4Network, ...] = ()
    """Without overlaps, apart into private ones and others; of a range that holds both, only the public part counts."""
    private_ranges: tuple[IPv4Network, ...] = ()
    ports: tuple[tuple[IPv4Address, int], ...] = ()
    """Single addresses with a port."""
    names: Mapping[str, frozenset[int] | None] = field(default_factory=dict)
    """Names that are resolved, with the ports to open; None: all of them."""

    def permits(self, address: IPv4Address) -> bool:
        """May a name lead to this private address? Only if it was named itself."""
        return any(address in network for network in self.private_ranges) or any(
            address == named for named, _ in self.ports
        )


def make_policy(network: Network) -> Policy:
    """The policy for a `network` that was validated."""
    if not isinstance(network, NetworkAllow):
        return Policy(world=network == "egress")
    ranges: list[IPv4Network] = []
    ports: set[tuple[IPv4Address, int]] = set()
    names: dict[str, frozenset[int] | None] = {}
    for each in map(parse_destination, network.allow):
        if each.name is not None:
            known = names.get(each.name, frozenset())
            names[each.name] = None if each.port is None or known is None else known | {each.port}
        elif each.range is not None and each.port is not None:
            ports.add((each.range.network_address, each.port))
        elif each.range is not None:
            ranges.append(each.range)
    private = [each for each in ranges if any(each.subnet_of(private) for private in PRIVATE)]
    public = [each for each in ranges if each not in private]
    return Policy(
        False, tuple(collapse_addresses(public)), tuple(collapse_addresses(private)), tuple(sorted(ports)), names
    )


def gate_rules(policy: Policy, forbidden: Iterable[IPv4Network] = ()) -> str:
    """The whole rule set of a gate. What is not let through is refused at once, so that programs need not time out."""
    never = collapse_addresses((*NEVER, *forbidden))
    passing = []
    if policy.private_ranges:
        passing.append(f"ip daddr {_set(policy.private_ranges)} accept")
    if policy.ports:
        pairs = ", ".join(f"{address} . {port}" for address, port in policy.ports)
        passing.append(f"meta l4proto {{ tcp, udp }} ip daddr . th dport {{ {pairs} }} accept")
    passing.append(f"ip daddr {_set(PRIVATE)} goto refuse")
    if policy.world:
        passing.append("accept")
    if policy.ranges:
        passing.append(f"ip daddr {_set(policy.ranges)} accept")
    if policy.names:
        passing.append("ip daddr @names accept")
        passing.append("meta l4proto { tcp, udp } ip daddr . th dport @name_ports accept")
    rules = "\n    ".join(passing)
    return f"""\
table inet {TABLE} {{
  set names {{ type ipv4_addr; flags timeout; size {MAX_RESOLVED}; }}
  set name_ports {{ type ipv4_addr . inet_service; flags timeout; size {MAX_RESOLVED}; }}
  set connections {{ type ipv4_addr; flags dynamic; size 4; }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    meta nfproto != ipv4 drop
    ct state established,related accept
    ct state invalid drop
    iifname != "{INSIDE}" drop
    oifname != "{UPLINK}" drop
    ip saddr != {GUEST_ADDRESS} drop
    ip daddr {_set(never)} goto refuse
    meta l4proto != {{ tcp, udp, icmp }} goto refuse
    meta l4proto icmp icmp type != echo-request drop
    add @connections {{ ip saddr ct count over {MAX_CONNECTIONS} }} drop
    {rules}
    goto refuse
  }}
  chain refuse {{
    fib daddr type != unicast drop
    meta l4proto tcp reject with tcp reset
    reject with icmp type admin-prohibited
  }}
  chain input {{
    type filter hook input priority 0; policy drop;
    meta nfproto != ipv4 drop
    iifname "lo" accept
    ct state established,related accept
    iifname != "{INSIDE}" drop
    ip saddr != {GUEST_ADDRESS} drop
    ip daddr != {GATE_ADDRESS} goto refuse
    add @connections {{ ip saddr ct count over {MAX_CONNECTIONS} }} drop
    udp dport 53 accept
    tcp dport 53 accept
    goto refuse
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    oifname "{UPLINK}" masquerade
  }}
}}
"""


def host_table(node_id: str) -> str:
    """Name of the node's table among the host's."""
    return f"caisson_{hashlib.sha256(node_id.encode()).hexdigest()[:12]}"


def host_rules(node_id: str, links: IPv4Network, *, guard: bool) -> str:
    """The host's own share: nothing of a slot's ends here, nothing comes into one unasked, and addresses are masked.

    `guard`: the host forwarded nothing before there were slots, and shall forward nothing else now.
    """
    mine = f'"{HOST_PREFIX}*"'
    return f"""\
table inet {host_table(node_id)} {{
  comment "Caisson, node {node_id}"
  chain prerouting {{
    type filter hook prerouting priority -310; policy accept;
    iifname != {mine} accept
    meta nfproto != ipv4 drop
    fib daddr type != unicast drop
    fib saddr . iif oif missing drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname {mine} drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname {mine} oifname {mine} drop
    iifname {mine} ip daddr {_set(collapse_addresses((*NEVER, links)))} drop
    iifname {mine} tcp flags syn tcp option maxseg size set rt mtu
    oifname {mine} tcp flags syn tcp option maxseg size set rt mtu
    oifname {mine} ct state established,related accept
    oifname {mine} drop
    {"jump guard" if guard else ""}
  }}
  {f"chain guard {{ iifname != {mine} oifname != {mine} drop; }}" if guard else ""}
  chain postrouting {{
    type nat hook postrouting priority 90; policy accept;
    ip saddr {links} oifname != {mine} masquerade
  }}
}}
"""


def open_resolved(addresses: Iterable[IPv4Address], ports: frozenset[int] | None, timeout_s: int) -> str:
    """Let these addresses be reached for `timeout_s` from now on; an older, longer opening is not made shorter.

    An element's time cannot be prolonged in place (before Linux 6.12), so it is taken out and put in again, all in one
    transaction.
    """
    if ports is None:
        keys, name = [str(address) for address in addresses], "names"
    else:
        keys = [f"{address} . {port}" for address in addresses for port in sorted(ports)]
        name = "name_ports"
    # `add` before `delete`: what is not there cannot be deleted.
    plain, timed = ", ".join(keys), ", ".join(f"{key} timeout {timeout_s}s" for key in keys)
    place = f"element inet {TABLE} {name}"
    return f"add {place} {{ {plain} }}; delete {place} {{ {plain} }}; add {place} {{ {timed} }}"


def _set(networks: Iterable[IPv4Network]) -> str:
    return "{ " + ", ".join(map(str, networks)) + " }"
