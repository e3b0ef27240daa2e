"""The endpoints for logs: a stream of server-sent events, and pages of what is stored."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from caisson import metrics
from caisson.answers import LogPage
from caisson.api.answers import JSON, Done, json_response
from caisson.api.negotiation import negotiate
from caisson.api.openapi import EVENT_STREAM, LAST_EVENT_ID, LOG_EVENT, Answer, operation
from caisson.api.routes import StrictRoute
from caisson.api.services import services, tenant
from caisson.api.streams import EventStream
from caisson.api.workloads import WorkloadId, known_form
from caisson.engine.engine import Engine
from caisson.errors import Refusal, Refused
from caisson.model import LogLine, Workload

TEXT = "text/plain"
LINES_PER_WRITE = 1_000
DEFAULT_PAGE_LINES = 1_000
MAX_PAGE_LINES = 10_000
MAX_SEQ = 2**53 - 1
"""The largest integer that every JSON reader knows exactly."""

router = APIRouter(route_class=StrictRoute)
_encode = msgspec.json.Encoder().encode
_seq = re.compile(r"[0-9]{1,16}")


@router.get(
    "/v1/workloads/{id}/logs",
    **operation(
        "follow_logs",
        "Follow a workload's log",
        {200: Answer(LOG_EVENT, "One event for each line, then `event: done`.", media_type=EVENT_STREAM)},
        (400, 404, 406),
        LAST_EVENT_ID,
    ),
)
async def follow_logs(request: Request, workload_id: WorkloadId) -> Response:
    """Replays from the start, or from the line after `Last-Event-ID`, and follows until the workload has ended.

    A stream that ends without `event: done` was cut by a shutdown: connect anew with `Last-Event-ID`.
    """
    negotiate(request.headers.get("accept"), [EVENT_STREAM])
    after = last_event_id(request)
    engine = services(request).engine
    await engine.get(known_form(workload_id), tenant(request))
    return EventStream(_events(engine.follow(workload_id, tenant(request), after)), metrics.log_streams_open)


class HistoryParameters(BaseModel):
    """Which part of a log to read."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=-1, ge=-1, le=MAX_SEQ, description="Only lines with a greater number.")
    limit: int | None = Field(
        default=None,
        ge=1,
        le=MAX_PAGE_LINES,
        description=f"Most lines; as JSON {DEFAULT_PAGE_LINES} if left out, as text all of them.",
    )


@router.get(
    "/v1/workloads/{id}/logs/history",
    **operation(
        "read_logs",
        "Read the stored log",
        {200: Answer(LogPage, "A page of lines, or raw text, as `Accept` says.", also=(TEXT,))},
        (400, 404, 406, 422),
    ),
)
async def read_logs(
    request: Request, workload_id: WorkloadId, parameters: Annotated[HistoryParameters, Query()]
) -> Response:
    """Lines that are not on disk yet are not shown; a page can be shorter than `limit` without being the last."""
    engine, owner = services(request).engine, tenant(request)
    media_type = negotiate(request.headers.get("accept"), [JSON, TEXT])
    limit = parameters.limit or (DEFAULT_PAGE_LINES if media_type == JSON else MAX_PAGE_LINES)
    page = await engine.history(known_form(workload_id), owner, parameters.after, limit)
    if media_type == JSON:
        return json_response(page)
    return StreamingResponse(
        _raw_text(engine, owner, page, parameters.limit), media_type=TEXT, headers={"Cache-Control": "no-store"}
    )


async def _raw_text(engine: Engine, owner: str, page: LogPage, limit: int | None) -> AsyncIterator[bytes]:
    while page.lines:
        yield "".join(f"{line.line}\n" for line in page.lines).encode("utf-8", "replace")
        if limit is not None:
            limit -= len(page.lines)
            if limit <= 0:
                return
        page = await engine.history(page.workload_id, owner, page.next_seq, limit or MAX_PAGE_LINES)


def last_event_id(request: Request) -> int:
    """The number in `Last-Event-ID`, -1 where there is none. Raises Refused (400) for what is no number."""
    text = request.headers.get("last-event-id")
    if text is None:
        return -1
    if not _seq.fullmatch(text) or int(text) > MAX_SEQ:
        raise Refused(400, Refusal.MALFORMED, "Last-Event-ID must be the number of an event", member="Last-Event-ID")
    return int(text)


async def _events(batches: AsyncGenerator[Sequence[LogLine] | Workload]) -> AsyncGenerator[bytes]:
    async with aclosing(batches):
        async for batch in batches:
            for block in _blocks(batch):
                yield block


def _blocks(batch: Sequence[LogLine] | Workload) -> Iterator[bytes]:
    """The batch as blocks of events, each block one write."""
    if isinstance(batch, Workload):
        done = Done(batch.status, batch.exit_code, batch.error.reason if batch.error else None)
        yield b"event: done\ndata: %b\n\n" % _encode(done)
        return
    lines = iter(batch)
    while block := b"".join(
        b"id: %d\ndata: %b\n\n" % (line.seq, _encode(line)) for line in islice(lines, LINES_PER_WRITE)
    ):
        yield block
