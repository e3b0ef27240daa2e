"""What both clients agree on towards HTTP: addresses, connections, which errors mean what, and what is tried again."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypedDict

import httpx2
import stamina.instrumentation
import structlog

from caisson import __version__
from caisson.client.calls import Call
from caisson.client.errors import ApiError, Unreachable

if not structlog.is_configured():
    # stamina tells of retries through structlog, which nobody having configured it writes to stdout: not our place.
    stamina.instrumentation.set_on_retry_hooks(())

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 60.0
LONGEST_RETRY_AFTER_S = 30
"""A server that asks for more patience than this gets its refusal passed on."""
BUSY = frozenset({429, 502, 503, 504})
"""Statuses that say `not now`."""


class Patience(TypedDict):
    """How often and how fast a repeatable call is tried."""

    attempts: int
    wait_initial: float
    wait_max: float
    wait_jitter: float
    timeout: None


PATIENCE: Final[Patience] = {
    "attempts": 4,
    "wait_initial": 0.1,
    "wait_max": 2.0,
    "wait_jitter": 0.1,
    "timeout": None,
}
RECONNECT_PATIENCE: Final[Patience] = {**PATIENCE, "attempts": 20}
"""For a log stream that had begun: long enough for the server to be started anew."""


def server_url(url: str | None) -> str:
    """The server's address: `url`, else CAISSON_API, else the default; `http://` is added where no scheme is given."""
    text = url or os.environ.get("CAISSON_API") or DEFAULT_URL
    text = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parsed = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ValueError(f"{text!r} is not an address of a server: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"{text!r} is not an address of a server; one looks like {DEFAULT_URL}")
    return text


def default_headers(api_key: str | None) -> dict[str, str]:
    """Headers of every request; the key is `api_key`, else CAISSON_API_KEY."""
    key = api_key or os.environ.get("CAISSON_API_KEY")
    headers = {"Accept": "application/json", "User-Agent": f"caisson-python/{__version__}"}
    return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def socket_options() -> list[tuple[int, int, int]]:
    """TCP keep-alive, so that a `run` without a read timeout notices within a minute that its server is gone."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if (option := getattr(socket, name, None)) is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    return options


def request_arguments(call: Call[Any]) -> dict[str, Any]:
    """`call` in the words of httpx2's `build_request`."""
    arguments: dict[str, Any] = {
        "params": dict(call.params),
        "headers": dict(call.headers),
        "timeout": httpx2.Timeout(
            connect=CONNECT_TIMEOUT_S, read=call.read_timeout_s, write=WRITE_TIMEOUT_S, pool=None
        ),
    }
    if call.archive is not None:
        arguments["files"] = {
            "spec": ("spec.json", call.body, "application/json"),
            "archive": ("archive.tar.gz", call.archive, "application/gzip"),
        }
    elif call.body is not None:
        arguments["content"] = call.body
        arguments["headers"]["Content-Type"] = "application/json"
    return arguments


@contextmanager
def errors_told(url: str) -> Iterator[None]:
    """Turns httpx2's errors into ours."""
    try:
        yield
    except httpx2.ConnectError as error:
        raise Unreachable(url, f"cannot connect ({error})") from error
    except httpx2.TimeoutException as error:
        raise Unreachable(url, f"too slow ({type(error).__name__})") from error
    except httpx2.TransportError as error:
        raise Unreachable(url, f"the connection broke ({error or type(error).__name__})") from error


def worth_retrying(call: Call[Any]) -> Callable[[Exception], bool | float]:
    """Stamina's question for `call`: try again after this error, and if so after how many seconds?"""

    def decide(error: Exception) -> bool | float:
        if not call.repeatable:
            return False
        if isinstance(error, ApiError) and error.status in BUSY:
            wait_s = error.retry_after_s
            return True if wait_s is None else wait_s <= LONGEST_RETRY_AFTER_S and float(wait_s)
        return isinstance(error, Unreachable)

    return decide
