"""What a client's connection tells while its request is worked on: that it is gone, and that nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from caisson.errors import CaissonError

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection before its answer was ready."""


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`. If the client goes away, `work` is cancelled and, once it has ended, ClientGone raised.

    The request's body must have been read. Raises what `work` raises if that is a CaissonError.
    """
    outcome: T | CaissonError
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(raise_when_gone(receive))
            try:
                outcome = await work
            except CaissonError as error:
                # Kept out of the group, which would wrap it.
                outcome = error
            watcher.cancel()
    except* ClientGone:
        raise ClientGone from None
    if isinstance(outcome, CaissonError):
        raise outcome
    return outcome


async def raise_when_gone(receive: Receive) -> None:
    """Wait for the client to close the connection, then raise ClientGone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise ClientGone
