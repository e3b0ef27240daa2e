"""What a client's connection tells while its request is worked on: that it is gone, and that nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from caisson.api.validity import Ending, KeyEnded, raise_when_ended
from caisson.errors import CaissonError, Refusal, Refused

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


async def while_connected(receive: Receive, work: Awaitable[T], ended: Ending | None = None) -> T:
    """The result of `work`. If the client goes away, `work` is cancelled and, once it has ended, ClientGone raised.

    The same if what the client came with ends (`ended`), but with Refused (401). The request's body must have been
    read. Raises what `work` raises if that is a CaissonError.
    """
    outcome: T | CaissonError
    gone = False
    try:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(raise_when_gone(receive))]
            if ended is not None:
                watchers.append(group.create_task(raise_when_ended(ended)))
            try:
                outcome = await work
            except CaissonError as error:
                # Kept out of the group, which would wrap it.
                outcome = error
            for watcher in watchers:
                watcher.cancel()
    except* (ClientGone, KeyEnded) as ends:
        gone = ends.subgroup(ClientGone) is not None
        message = "what the request came with is not valid any more"
        outcome = Refused(401, Refusal.UNAUTHENTICATED, message, member="Authorization")
    if gone:
        raise ClientGone
    if isinstance(outcome, CaissonError):
        raise outcome
    return outcome


async def raise_when_gone(receive: Receive) -> None:
    """Wait for the client to close the connection, then raise ClientGone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientGone
