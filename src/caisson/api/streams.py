"""Streams of server-sent events: written as they come, kept alive, ended when the client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from prometheus_client import Gauge
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from caisson.api.connection import ClientGone, raise_when_gone
from caisson.api.openapi import EVENT_STREAM
from caisson.api.validity import KeyEnded, raise_when_ended

HEARTBEAT_S = 10.0


class EventStream(Response):
    """Writes blocks of whole events until they end, or client or key is gone. `open_streams` counts it meanwhile."""

    def __init__(self, blocks: AsyncGenerator[bytes], open_streams: Gauge) -> None:
        super().__init__(
            # nginx buffers answers unless told not to; others may buffer to compress, which `no-transform` forbids.
            headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"},
            media_type=EVENT_STREAM,
        )
        del self.headers["content-length"]
        self._blocks = blocks
        self._open_streams = open_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            with self._open_streams.track_inprogress():
                async with asyncio.TaskGroup() as group, aclosing(self._blocks) as blocks:
                    companions = [group.create_task(raise_when_gone(receive)), group.create_task(_keep_alive(send))]
                    if (ended := scope["state"]["principal"].ended) is not None:
                        companions.append(group.create_task(raise_when_ended(ended)))
                    async for block in blocks:
                        await send({"type": "http.response.body", "body": block, "more_body": True})
                    for companion in companions:
                        companion.cancel()
        except* (ClientGone, KeyEnded):
            # What follows goes nowhere, or says only that the stream is over.
            pass
        await send({"type": "http.response.body", "body": b""})


async def _keep_alive(send: Send) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
