"""Slows down whoever tries keys: an address that was wrong too often must wait, longer each time."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from time import monotonic

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 900.0
FORGET_S = 3600.0
"""An address that presented no wrong key for this long begins anew."""
MAX_ADDRESSES = 10_000
MAX_KNOWN = 100
"""Keys remembered for each address as having been right."""


@dataclass(slots=True)
class _Guesser:
    wrong: int = 0
    last_at: float = 0.0
    barred_until: float = 0.0
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)


class Guesses:
    """What each address has tried: `free` wrong keys cost nothing; with 0, none ever does.

    Bounded: the addresses not heard of for longest are forgotten first.
    A key that was right from an address is let through there also while others are barred: behind one proxy there are
    many clients, of whom one must not be able to lock out the others.
    """

    def __init__(self, free: int, now: Callable[[], float] = monotonic) -> None:
        self._free = free
        self._now = now
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def wait_s(self, address: str, digest: str) -> int:
        """How many seconds this key of this address must wait before it is looked at; 0 for none."""
        guesser = self._guessers.get(_network(address))
        if guesser is None or digest in guesser.known:
            return 0
        return max(0, math.ceil(guesser.barred_until - self._now()))

    def wrong(self, address: str) -> bool:
        """Note a wrong key; True if the address is barred from now on."""
        guesser, now = self._of(address), self._now()
        if now - guesser.last_at > FORGET_S:
            guesser.wrong = 0
        guesser.wrong += 1
        guesser.last_at = now
        over = guesser.wrong - self._free
        if over < 0 or not self._free:
            return False
        guesser.barred_until = now + min(FIRST_WAIT_S * 2.0 ** min(over, 30), LONGEST_WAIT_S)
        return True

    def right(self, address: str, digest: str) -> None:
        """Note a key that was right."""
        guesser = self._guessers.get(_network(address))
        if guesser is not None and digest in guesser.known:
            return
        known = self._of(address).known
        known[digest] = None
        if len(known) > MAX_KNOWN:
            known.popitem(last=False)

    def _of(self, address: str) -> _Guesser:
        network = _network(address)
        guesser = self._guessers.setdefault(network, _Guesser())
        self._guessers.move_to_end(network)
        if len(self._guessers) > MAX_ADDRESSES:
            self._guessers.popitem(last=False)
        return guesser


def _network(address: str) -> str:
    """The address, of IPv6 its /64: whoever has one address there has all of them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
