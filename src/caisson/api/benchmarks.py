"""The endpoints for benchmarks: start, list, read (also as CSV), cancel, and follow one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from caisson import metrics
from caisson.api.answers import JSON, json_response
from caisson.api.benchmark_schema import BENCHMARK_LINKS, BENCHMARK_REQUEST, MAX_BENCHMARK_BYTES
from caisson.api.bodies import read_body
from caisson.api.logs import last_event_id
from caisson.api.negotiation import negotiate
from caisson.api.openapi import BENCHMARK_EVENT, EVENT_STREAM, LAST_EVENT_ID, WORKLOAD_ID, Answer, operation
from caisson.api.routes import DirectRoute, StrictRoute
from caisson.api.services import note, services, tenant
from caisson.api.streams import EventStream
from caisson.api.submissions import is_utf8
from caisson.api.validation import decode_benchmark
from caisson.benchmark import (
    Benchmark,
    BenchmarkDone,
    BenchmarkPage,
    BenchmarkProgress,
    BenchmarkResult,
    as_csv,
)
from caisson.compare.service import Event
from caisson.errors import Refusal, Refused
from caisson.model import is_workload_id

CSV = "text/csv"
MAX_PAGE = 50

submissions = APIRouter(route_class=DirectRoute)
router = APIRouter(route_class=StrictRoute)
_encode = msgspec.json.Encoder().encode


@submissions.post(
    "/v1/benchmarks",
    **operation(
        "start_benchmark",
        "Compare the isolations",
        {202: Answer(Benchmark, "The benchmark that has begun.", headers=("Location",), links=BENCHMARK_LINKS)},
        (400, 409, 413, 415, 422, 503),
        BENCHMARK_REQUEST,
    ),
)
async def start_benchmark(request: Request) -> Response:
    """Runs the built-in suite, or one workload, on every isolation; one benchmark at a time."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != JSON or not is_utf8(parameters):
        message = f"the body must be {JSON} in UTF-8"
        raise Refused(415, Refusal.UNSUPPORTED_MEDIA_TYPE, message, member="Content-Type")
    wanted = decode_benchmark(await read_body(request, MAX_BENCHMARK_BYTES))
    benchmark = await services(request).benchmarks.start(wanted, tenant(request))
    note(request, "benchmark.start", benchmark.id)
    return json_response(benchmark, 202, {"Location": f"/v1/benchmarks/{benchmark.id}"})


class BenchmarkListParameters(BaseModel):
    """Which benchmarks to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=MAX_PAGE, description="Most benchmarks on the page.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")


@router.get(
    "/v1/benchmarks",
    **operation("list_benchmarks", "List benchmarks, newest first", {200: Answer(BenchmarkPage, "A page.")}, (422,)),
)
async def list_benchmarks(request: Request, parameters: Annotated[BenchmarkListParameters, Query()]) -> Response:
    """Without their results."""
    page = await services(request).benchmarks.list(tenant(request), parameters.limit, parameters.cursor)
    return json_response(page)


BenchmarkId = Annotated[
    str, Path(alias="id", json_schema_extra={**WORKLOAD_ID, "description": "A benchmark's id, a ULID."})
]


@router.get(
    "/v1/benchmarks/{id}",
    **operation(
        "get_benchmark",
        "Read a benchmark",
        {200: Answer(Benchmark, "The benchmark, or its results as CSV, as `Accept` says.", also=(CSV,))},
        (404, 406),
    ),
)
async def get_benchmark(request: Request, benchmark_id: BenchmarkId) -> Response:
    """With the results so far and every sample."""
    media_type = negotiate(request.headers.get("accept"), [JSON, CSV])
    benchmark = await services(request).benchmarks.get(_known_form(benchmark_id), tenant(request))
    if media_type == JSON:
        return json_response(benchmark)
    name = f"benchmark-{benchmark.id}.csv"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(as_csv(benchmark), headers=headers, media_type=CSV)


@router.delete(
    "/v1/benchmarks/{id}",
    **operation(
        "cancel_benchmark", "Cancel a benchmark", {200: Answer(Benchmark, "The cancelled benchmark.")}, (404, 409)
    ),
)
async def cancel_benchmark(request: Request, benchmark_id: BenchmarkId) -> Response:
    """Answers when the workload it was at is verified dead; what was measured before stays."""
    benchmark = await services(request).benchmarks.cancel(_known_form(benchmark_id), tenant(request))
    note(request, "benchmark.cancel", benchmark.id)
    return json_response(benchmark)


@router.get(
    "/v1/benchmarks/{id}/events",
    **operation(
        "follow_benchmark",
        "Follow a benchmark",
        {
            200: Answer(
                BENCHMARK_EVENT,
                "`event: result` for each result, `event: progress` in between, `event: done` at the end.",
                media_type=EVENT_STREAM,
            )
        },
        (400, 404, 406),
        LAST_EVENT_ID,
    ),
)
async def follow_benchmark(request: Request, benchmark_id: BenchmarkId) -> Response:
    """Replays the results from the first, or from the one after `Last-Event-ID`, and goes on to the end."""
    negotiate(request.headers.get("accept"), [EVENT_STREAM])
    after = last_event_id(request)
    benchmarks, owner = services(request).benchmarks, tenant(request)
    await benchmarks.get(_known_form(benchmark_id), owner)
    return EventStream(_blocks(benchmarks.follow(benchmark_id, owner, after)), metrics.event_streams_open)


async def _blocks(batches: AsyncGenerator[Sequence[Event]]) -> AsyncGenerator[bytes]:
    async with aclosing(batches):
        async for batch in batches:
            yield b"".join(_events(batch))


def _events(batch: Sequence[Event]) -> Iterator[bytes]:
    for event in batch:
        match event:
            case BenchmarkResult():
                yield b"id: %d\nevent: result\ndata: %b\n\n" % (event.seq, _encode(event))
            case BenchmarkProgress():
                yield b"event: progress\ndata: %b\n\n" % _encode(event)
            case _:
                yield b"event: done\ndata: %b\n\n" % _encode(BenchmarkDone(status=event.status, error=event.error))


def _known_form(benchmark_id: str) -> str:
    """The id, if it has the form of one. Raises Refused (404): nothing else can exist."""
    if not is_workload_id(benchmark_id):
        raise Refused(404, Refusal.NOT_FOUND, f"there is no benchmark {benchmark_id[:100]!r}", member="id")
    return benchmark_id
