"""Accepts connections; where no descriptor is left for one, whoever comes is told so, a few at a time.

A loop's own server (libuv's) would close such a connection without a word, or try to accept it again and again without
a pause.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

import structlog

from caisson.host.reserve import require, spending

logger = structlog.get_logger(__name__)

AT_ONCE = 100
"""Most connections that are accepted before others have their turn."""
REFUSED_AT_ONCE = 4
"""Each is held by one of the descriptors kept back."""
RETRY_S = 0.2


class Acceptor:
    """Accepts on one socket, from its making until `close`. Needs a running loop."""

    def __init__(
        self,
        listener: socket.socket,
        backlog: int,
        serve: Callable[[], asyncio.Protocol],
        refuse: Callable[[Callable[[], None]], asyncio.Protocol],
    ) -> None:
        """The listener stays the caller's. What `refuse` makes calls what it is given when its connection has ended."""
        listener.setblocking(False)
        listener.listen(backlog)
        self._listener = listener
        self._serve = serve
        self._refuse = partial(refuse, self._note_refused)
        self._refusing = 0
        self._beginning = set[asyncio.Task[None]]()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._lacking = False
        self._loop = asyncio.get_running_loop()
        self._resume()

    def close(self) -> None:
        """Accept no more. Idempotent."""
        self._closed = True
        self._pause()

    async def wait_closed(self) -> None:
        """Return when every connection that was accepted is its protocol's."""
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                require()
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause()
                self._refuse_one(error)
                return
            self._lacking = False
            self._begin(connection, self._serve)

    def _refuse_one(self, error: OSError) -> None:
        if not self._lacking:
            self._lacking = True
            logger.error("connections cannot be accepted", error=str(error))
        try:
            with spending():
                connection, _ = self._listener.accept()
        except OSError:
            self._timer = self._loop.call_later(RETRY_S, self._resume)
            return
        self._refusing += 1
        self._begin(connection, self._refuse)
        if self._refusing < REFUSED_AT_ONCE:
            self._resume()

    def _note_refused(self) -> None:
        self._refusing -= 1
        # A moment later, when its descriptor is there to be kept back again.
        self._loop.call_soon(self._resume)

    def _begin(self, connection: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        connection.setblocking(False)

        async def begin() -> None:
            try:
                await self._loop.connect_accepted_socket(make, connection)
            except OSError as error:
                connection.close()
                logger.warning("a connection was lost at once", error=str(error))

        task = self._loop.create_task(begin())
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resume(self) -> None:
        self._timer = None
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)
