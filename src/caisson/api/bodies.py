"""Reads request bodies up to a limit, and turns away larger ones without reading them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from caisson.api.connection import ClientGone
from caisson.errors import Refusal, Refused

BODY = "body"
"""The member at fault where it is the whole body."""


def too_large(what: str, limit_bytes: int, member: str) -> Refused:
    """The refusal of something that is over its limit."""
    return Refused(413, Refusal.TOO_LARGE, f"{what} is larger than {limit_bytes} bytes", member=member)


async def read_body(request: Request, limit_bytes: int) -> bytes | bytearray:
    """The whole body. Raises Refused (413) if it is over the limit, ClientGone if it does not come."""
    pieces = body_pieces(request, limit_bytes)
    body = bytearray()
    async for piece in pieces:
        body += piece
    return body


async def body_pieces(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body as it comes in. Raises Refused (413) if it says that it is, or turns out to be, over the limit."""
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise Refused(400, Refusal.MALFORMED, "Content-Length is not a number", member="Content-Length")
    if len(declared) > 18 or int(declared) > limit_bytes:
        raise too_large("the body", limit_bytes, BODY)
    left = limit_bytes
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        left -= len(piece)
        if left < 0:
            raise too_large("the body", limit_bytes, BODY)
        yield piece
        more = message.get("more_body", False)
