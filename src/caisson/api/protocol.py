"""A client's connection, bounded in what its request's head may be and in how long a request may take to come.

uvicorn waits for ever for the rest of a request; a few thousand connections that send a byte now and then ("slow
loris") would use up this process's descriptors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from caisson.api.listener import SECURITY_HEADERS
from caisson.api.problems import problem_response
from caisson.errors import Refusal, Refused

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers."""
HEAD_S = 15.0
"""How long a request's head may take, from its first byte or from the connection's begin on."""
BODY_S = 30.0
LINGER_S = 1.0
LEAST_BODY_BYTES = 4096
"""Least that must come of a body within BODY_S seconds, while the server is ready to take it."""
CLOSE = (b"connection", b"close")
RETRY_AFTER_S = 1
_NO_ROOM = "the server has as many files and connections open as it may; try again later"


class _HeadTooLarge(Exception):
    """Raised through the parser, which makes an error of its own of it."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds. A request that arrives in one piece costs no timer."""

    _refused = False
    _in_head = True
    _head_bytes = 0
    _body_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._in_head = True
        self._arm(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it; then see to it that what is still missing comes in time."""
        if self._refused:
            return
        super().data_received(data)
        if self._refused:
            return
        if self.transport.is_closing():
            self._disarm()
        elif self._in_head and self._head_bytes:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())
            elif self._timer is None:
                self._arm(HEAD_S)
        elif self._awaits_body:
            if self._timer is None:
                self._arm(BODY_S)
        else:
            self._disarm()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 1
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Raises for headers that are too large in all, of which many may come in one piece."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > 2 * MAX_HEAD_BYTES:
            raise _HeadTooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there; a body may follow."""
        self._in_head, self._head_bytes, self._body_bytes = False, 0, 0
        self._disarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """What the parser did not like; of headers that are too large, that they are."""
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_head_too_large())
        else:
            self._refuse(Refused(400, Refusal.MALFORMED, "what came is not valid HTTP"))

    @property
    def _awaits_body(self) -> bool:
        return not self._in_head and self.cycle is not None and self.cycle.more_body

    def _arm(self, after_s: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(after_s, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The time is over: whoever is too slow is let go."""
        self._timer = None
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(_too_slow("head"))
        elif self._awaits_body:
            if self.flow.read_paused or self._body_bytes >= LEAST_BODY_BYTES:
                self._body_bytes = 0
                self._arm(BODY_S)
            else:
                self._refuse(_too_slow("body"))

    def _refuse(self, refused: Refused) -> None:
        if self._refused or self.transport.is_closing():
            return
        waiting = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
        if self.pipeline or (waiting is not None and waiting.response_started):
            # There is an answer under way, in which this one would stand.
            self.transport.close()
            return
        self._refused = True
        self._disarm()
        if waiting is not None:
            waiting.disconnected = True
            waiting.message_event.set()
        self.transport.write(self._answer(refused))
        # Closed at once, the kernel would answer what is still on its way with a reset, and the client not read this.
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _answer(self, refused: Refused) -> bytes:
        response = problem_response(refused)
        headers = [*self.server_state.default_headers, *response.raw_headers, *SECURITY_HEADERS, CLOSE]
        lines = [f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", bytes(response.body)])


class RefusingProtocol(BoundedProtocol):
    """Tells whoever asks for something that there is no room for another connection."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], ended: Callable[[], None]
    ) -> None:
        """`ended` is called when the connection has ended, which it does soon."""
        super().__init__(config, server_state, app_state)
        self._ended = ended

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Wait for a request, but only for a moment."""
        super().connection_made(transport)
        self._arm(LINGER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """There is room for another one to be refused."""
        super().connection_lost(exc)
        self._ended()

    def data_received(self, data: bytes) -> None:
        """Whatever it is."""
        self._refuse(Refused(503, Refusal.OVERLOADED, _NO_ROOM, retry_after_s=RETRY_AFTER_S))


def _head_too_large() -> Refused:
    message = f"request line and headers are larger than {MAX_HEAD_BYTES} bytes"
    return Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, Refusal.HEAD_TOO_LARGE, message)


def _too_slow(part: str) -> Refused:
    return Refused(HTTPStatus.REQUEST_TIMEOUT, Refusal.TOO_SLOW, f"the request's {part} came too slowly")
