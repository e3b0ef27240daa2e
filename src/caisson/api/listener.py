"""Who may talk to the server at all: checks of Host, Origin and API key before anything else looks at a request.

On a loopback address anyone on this machine may come without a key, which includes every web page open in a browser
here. Host must therefore be a name of this machine, or a page could rebind its own name to 127.0.0.1; and a page of
another origin, which browsers name in Origin, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caisson.api.auth import Authenticator
from caisson.api.problems import internal_problem, problem_response, storage_problem
from caisson.errors import Refusal, Refused
from caisson.store.errors import StoreError

logger = structlog.get_logger(__name__)

DEFAULT_PORTS = {"http": 80, "https": 443}
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, loopback: bool, trusted_hosts: Iterable[str]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._loopback = loopback
        self._trusted_hosts = frozenset(name.lower() for name in trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name.lower() for name, _ in message["headers"]}
                # The dashboard's document has a content security policy of its own.
                lacking = [header for header in SECURITY_HEADERS if header[0] not in given]
                message["headers"] = [*message["headers"], *lacking]
            await send(message)

        try:
            self._check_headers(scope)
            scope.setdefault("state", {})["principal"] = await self._authenticator.authenticate(scope)
            await self._app(scope, receive, send_secured)
        except Refused as refused:
            await problem_response(refused)(scope, receive, send_secured)
        except StoreError as error:
            await storage_problem(error)(scope, receive, send_secured)
        except Exception:
            logger.exception("request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            await internal_problem()(scope, receive, send_secured)

    def _check_headers(self, scope: Scope) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = parse_authority(hosts[0].decode("latin-1"), scope["scheme"]) if len(hosts) == 1 else None
        if host is None:
            raise Refused(400, Refusal.MALFORMED, "the request must have one valid Host header", member="Host")
        if self._loopback and host[0] not in self._trusted_hosts and not is_loopback_name(host[0]):
            message = f"this server does not answer for the host {host[0]!r}; see CAISSON_TRUSTED_HOSTS"
            raise Refused(403, Refusal.FORBIDDEN, message, member="Host")
        for name, value in scope["headers"]:
            if name == b"origin" and not is_same_origin(value.decode("latin-1"), scope["scheme"], host):
                raise Refused(403, Refusal.FORBIDDEN, "web pages of another origin are refused", member="Origin")


@lru_cache(256)
def parse_authority(text: str, scheme: str) -> tuple[str, int] | None:
    """`HOST` or `HOST:PORT` as a lower-case name without a final dot, and a port; None if it is neither."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    port = int(found[2]) if found[2] else DEFAULT_PORTS.get(scheme, 0)
    return found[1].lower().removesuffix("."), port


@lru_cache(256)
def is_loopback_name(host: str) -> bool:
    """True for the names that mean this machine on every machine (RFC 6761, section 6.3, and the loopback ranges)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_same_origin(origin: str, scheme: str, host: tuple[str, int]) -> bool:
    """True if a page of `origin` comes from the very server that is addressed by `scheme` and `host`."""
    origin_scheme, separator, authority = origin.partition("://")
    return bool(separator) and origin_scheme.lower() == scheme and parse_authority(authority, scheme) == host
