"""Routes that know every query parameter they are asked with: what does not exist is refused, never passed over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from caisson.api.validation import MAX_NAME_CHARS, MAX_NAMES, unknown_members

Endpoint = Callable[[Request], Awaitable[Response]]


class StrictRoute(APIRoute):
    """A route whose parameters are those its endpoint declares; without any, the framework would look at none."""

    def get_route_handler(self) -> Endpoint:  # type: ignore[override]  # awaitables do
        """The endpoint behind that check. Where there are parameters, their model refuses others."""
        handler: Endpoint = super().get_route_handler()
        return handler if self.dependant.query_params else without_query(handler)


class DirectRoute(APIRoute):
    """A route whose endpoint reads the request itself: none of the framework's work for parameters is done."""

    def get_route_handler(self) -> Endpoint:  # type: ignore[override]  # awaitables do
        """The endpoint as it is, which has no query parameters."""
        return without_query(self.endpoint)


def without_query(handler: Endpoint) -> Endpoint:
    """`handler`, for requests without query parameters; others are refused (400)."""

    async def handle(request: Request) -> Response:
        if request.scope["query_string"] and (names := list(request.query_params)):
            raise unknown_members([name[:MAX_NAME_CHARS] for name in names[:MAX_NAMES]], "query parameter")
        return await handler(request)

    return handle
