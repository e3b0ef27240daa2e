"""Turns everything that can go wrong with a request into an RFC 9457 problem document."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from http import HTTPStatus

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from caisson import metrics
from caisson.answers import Problem
from caisson.api.connection import ClientGone
from caisson.api.validation import refusal_of_query
from caisson.errors import Refusal, Refused
from caisson.store.errors import StoreError

logger = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
ERRORS_PAGE = "/docs/reference/errors"
MAX_DETAIL_CHARS = 1000
STORE_RETRY_AFTER_S = 5
LINGER_S = 2.0
LINGER_BYTES = 64 << 20
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that did not wait; nobody sees it but the access log."""

TITLES: dict[Refusal, str] = {
    Refusal.MALFORMED: "The request cannot be understood",
    Refusal.UNKNOWN_MEMBER: "The request has a member that does not exist",
    Refusal.INVALID_VALUE: "A value is not possible",
    Refusal.BAD_ARCHIVE: "The archive is not accepted",
    Refusal.TOO_LARGE: "The request is too large",
    Refusal.HEAD_TOO_LARGE: "The request's head is too large",
    Refusal.TOO_SLOW: "The request came too slowly",
    Refusal.UNSUPPORTED_MEDIA_TYPE: "The body has a type that is not accepted",
    Refusal.NOT_ACCEPTABLE: "The answer has no form that the client accepts",
    Refusal.UNAUTHENTICATED: "A valid API key is needed",
    Refusal.FORBIDDEN: "This is not allowed",
    Refusal.TOO_MANY_GUESSES: "Too many wrong API keys",
    Refusal.NOT_FOUND: "It does not exist",
    Refusal.METHOD_NOT_ALLOWED: "The method does not exist here",
    Refusal.CONFLICT: "The state does not allow this",
    Refusal.IDEMPOTENCY_CONFLICT: "The Idempotency-Key was used for another request",
    Refusal.UNSUPPORTED: "Nothing here can run this",
    Refusal.QUOTA_EXCEEDED: "A quota is used up",
    Refusal.OVERLOADED: "The server has no room for this now",
    Refusal.SHUTTING_DOWN: "The server is shutting down",
    Refusal.NOT_READY: "The server is not ready",
    Refusal.STORAGE: "The store does not take this now",
    Refusal.INTERNAL: "The server made a mistake",
}


class _ClosingResponse(Response):
    """An answer to a request whose body is not read to its end: the connection is closed after it.

    Closing at once would make the kernel answer the bytes still on their way with a reset, which can destroy the answer
    before the client reads it (RFC 9112, section 9.6). So they are thrown away for a moment first.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await _discard_body(receive)
        await send({"type": "http.response.body", "body": b""})


async def _discard_body(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


def problem_response(refused: Refused) -> Response:
    """The answer to a refused request."""
    metrics.requests_refused.labels(refused.reason).inc()
    problem = Problem(
        type=f"{ERRORS_PAGE}#{refused.reason}",
        title=TITLES[refused.reason],
        status=refused.status,
        detail=refused.message[:MAX_DETAIL_CHARS],
        reason=refused.reason,
        member=refused.member,
    )
    headers = {}
    if refused.retry_after_s is not None:
        headers["Retry-After"] = str(refused.retry_after_s)
    if refused.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="caisson"'
    kind = Response
    if refused.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["Connection"] = "close"
        kind = _ClosingResponse
    return kind(msgspec.json.encode(problem), refused.status, headers, MEDIA_TYPE)


def storage_problem(error: StoreError) -> Response:
    """The answer when the store fails: what was asked for was not done, and may be asked for again."""
    logger.error("the store failed a request", error=error.detail)
    message = f"the store cannot do this now: {error.message}"
    return problem_response(Refused(503, Refusal.STORAGE, message, retry_after_s=STORE_RETRY_AFTER_S))


def internal_problem() -> Response:
    """The answer when the fault is ours; what happened is in the log only."""
    return problem_response(Refused(500, Refusal.INTERNAL, "The server made a mistake; its log says more."))


def add_handlers(app: FastAPI) -> None:
    """Make `app` answer with problem documents for its own errors and for those of its frameworks."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        if error.detail != error.message:
            logger.info("request refused", path=request.url.path, reason=error.reason, detail=error.detail)
        return problem_response(error)

    @app.exception_handler(StoreError)
    async def store_failed(request: Request, error: StoreError) -> Response:
        return storage_problem(error)

    @app.exception_handler(RequestValidationError)
    async def bad_query(request: Request, error: RequestValidationError) -> Response:
        return problem_response(refusal_of_query(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.NOT_FOUND:
            return problem_response(Refused(404, Refusal.NOT_FOUND, f"there is nothing at {request.url.path}"))
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return _method_not_allowed(request, _methods_at(app, request.scope))
        reason = Refusal.MALFORMED if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else Refusal.INTERNAL
        return problem_response(Refused(error.status_code, reason, str(error.detail)))

    @app.exception_handler(ClientGone)
    async def client_gone(request: Request, error: ClientGone) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)


def _method_not_allowed(request: Request, methods: Iterable[str]) -> Response:
    allowed = ", ".join(sorted(methods))
    message = f"{request.method} does not exist at {request.url.path}, only {allowed}"
    response = problem_response(Refused(405, Refusal.METHOD_NOT_ALLOWED, message))
    response.headers["Allow"] = allowed
    return response


def _methods_at(app: FastAPI, scope: Scope) -> set[str]:
    """Every method of the path that `scope` was found to mean; the framework tells only those of one route."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    path = next(route.path for route in routes if route.matches(scope)[0] is not Match.NONE)
    return {method for route in routes if route.path == path for method in route.methods or ()}
