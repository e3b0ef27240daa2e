"""Who may run now: a bounded queue, fair between tenants, in front of the node's places and memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from caisson.errors import Refusal, Refused


@dataclass(slots=True)
class _Line:
    """One tenant's waiting tickets, and the virtual time at which its next one is due."""

    tickets: deque[Ticket] = field(default_factory=deque)
    due: float = 0.0


class FairQueue:
    """Stride scheduling over tenants: each gets places in proportion to its weight, first come first served within.

    A tenant that comes back after a pause starts at the present virtual time, so it can neither save up a burst nor be
    made to pay for others. Source: Waldspurger and Weihl, "Stride Scheduling", 1995.
    """

    def __init__(self, weight: Callable[[str], float] = lambda tenant: 1.0) -> None:
        self._weight = weight
        self._lines: dict[str, _Line] = {}
        self._now = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, tenant: str) -> int:
        """How many tickets of a tenant wait."""
        line = self._lines.get(tenant)
        return len(line.tickets) if line else 0

    def push(self, ticket: Ticket) -> None:
        """Put at the end of its tenant's line."""
        line = self._lines.get(ticket.tenant)
        if line is None:
            line = self._lines[ticket.tenant] = _Line(due=self._now)
        line.tickets.append(ticket)
        self._length += 1

    def peek(self) -> Ticket | None:
        """The ticket whose turn it is."""
        tenant = self._next()
        return None if tenant is None else self._lines[tenant].tickets[0]

    def pop(self) -> Ticket:
        """Take the ticket whose turn it is. Raises IndexError if none waits."""
        tenant = self._next()
        if tenant is None:
            raise IndexError("nobody waits")
        line = self._lines[tenant]
        self._now = line.due
        line.due += 1.0 / self._weight(tenant)
        return self._take(tenant, line.tickets[0])

    def remove(self, ticket: Ticket) -> None:
        """Take out a ticket that no longer wants its turn; nothing happens if it does not wait."""
        line = self._lines.get(ticket.tenant)
        if line is not None and ticket in line.tickets:
            self._take(ticket.tenant, ticket)

    def _take(self, tenant: str, ticket: Ticket) -> Ticket:
        line = self._lines[tenant]
        line.tickets.remove(ticket)
        if not line.tickets:
            del self._lines[tenant]
        self._length -= 1
        return ticket

    def _next(self) -> str | None:
        return min(self._lines, key=lambda tenant: self._lines[tenant].due, default=None)


@dataclass(slots=True, eq=False)
class Ticket:
    """A workload's claim to a place. `granted` is set when it may run; `leave` gives the place or the turn back."""

    tenant: str
    mem_mb: int
    granted: asyncio.Event = field(default_factory=asyncio.Event)


class Admission:
    """The node's places. Never promises more memory or more places than the node gives."""

    def __init__(
        self, *, places: int, mem_mb: int, queue_limit: int, weight: Callable[[str], float] = lambda tenant: 1.0
    ) -> None:
        self._places = places
        self._mem_mb = mem_mb
        self._queue_limit = queue_limit
        self._queue = FairQueue(weight)
        self._running: set[Ticket] = set()
        self._used_mb = 0

    @property
    def queued(self) -> int:
        """Workloads that wait."""
        return len(self._queue)

    def share_of(self, tenant: str) -> tuple[int, int]:
        """How many of a tenant's workloads wait, and how many hold a place."""
        return self._queue.waiting(tenant), sum(ticket.tenant == tenant for ticket in self._running)

    @property
    def running(self) -> int:
        """Workloads that hold a place."""
        return len(self._running)

    @property
    def used_mb(self) -> int:
        """Memory promised to those that hold a place, in MiB."""
        return self._used_mb

    def check(self, mem_mb: int) -> None:
        """Raise Refused: 422 for a workload that can never fit, 503 while the queue is full."""
        if mem_mb > self._mem_mb:
            raise Refused(
                422,
                Refusal.INVALID_VALUE,
                f"`resources.mem_mb` is {mem_mb}, but this node gives {self._mem_mb} MiB in all",
                member="resources.mem_mb",
            )
        at_once = not self._queue and self._fits(mem_mb)
        if len(self._queue) >= self._queue_limit and not at_once:
            raise Refused(
                503,
                Refusal.OVERLOADED,
                f"{len(self._queue)} workloads are waiting, which is all this node lets wait; try again later",
                retry_after_s=1,
            )

    def enter(self, tenant: str, mem_mb: int) -> Ticket:
        """A ticket that is granted at once where there is room and nobody waits, else in its turn."""
        ticket = Ticket(tenant, mem_mb)
        self._queue.push(ticket)
        self._grant()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give back a place, or a turn that is no longer wanted. Idempotent."""
        if ticket in self._running:
            self._running.remove(ticket)
            self._used_mb -= ticket.mem_mb
        else:
            self._queue.remove(ticket)
        self._grant()

    def _fits(self, mem_mb: int) -> bool:
        return len(self._running) < self._places and self._used_mb + mem_mb <= self._mem_mb

    def _grant(self) -> None:
        # The one whose turn it is holds up the others until it fits: letting smaller ones pass would starve it.
        while (ticket := self._queue.peek()) is not None and self._fits(ticket.mem_mb):
            self._queue.pop()
            self._running.add(ticket)
            self._used_mb += ticket.mem_mb
            ticket.granted.set()
