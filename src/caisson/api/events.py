"""The endpoint for what changes: a stream of server-sent events about the tenant's workloads and the server's load."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from caisson import metrics
from caisson.answers import Changed, Load
from caisson.api.negotiation import negotiate
from caisson.api.openapi import CHANGE_EVENT, EVENT_STREAM, Answer, operation
from caisson.api.routes import StrictRoute
from caisson.api.services import services, tenant
from caisson.api.streams import EventStream

router = APIRouter(route_class=StrictRoute)
_encode = msgspec.json.Encoder().encode


class WatchParameters(BaseModel):
    """How long to watch."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(default=3600, ge=0, le=86_400, description="The stream ends after this long.")


@router.get(
    "/v1/events",
    **operation(
        "follow_changes",
        "Follow what changes",
        {200: Answer(CHANGE_EVENT, "Workloads as they change, and the load.", media_type=EVENT_STREAM)},
        (400, 406, 422),
    ),
)
async def follow_changes(request: Request, parameters: Annotated[WatchParameters, Query()]) -> Response:
    """Begins now: what was before is in the lists. Ends also when the server shuts down."""
    negotiate(request.headers.get("accept"), [EVENT_STREAM])
    news = services(request).engine.watch(tenant(request), parameters.seconds)
    return EventStream(_events(news), metrics.event_streams_open)


async def _events(news: AsyncGenerator[Changed | Load]) -> AsyncGenerator[bytes]:
    async with aclosing(news):
        async for item in news:
            name = b"changed" if isinstance(item, Changed) else b"load"
            yield b"event: %b\ndata: %b\n\n" % (name, _encode(item))
