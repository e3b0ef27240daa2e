"""The endpoints for workloads: run, submit, list, read, kill."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from caisson.answers import WorkloadPage
from caisson.api.answers import json_response
from caisson.api.connection import while_connected
from caisson.api.openapi import LINKS, WORKLOAD_ID, Answer, operation
from caisson.api.request_schema import STORED_SPEC, SUBMISSION
from caisson.api.routes import DirectRoute, StrictRoute
from caisson.api.services import note, principal, services, tenant
from caisson.api.submissions import read_submission
from caisson.errors import Refusal, Refused
from caisson.model import IsolationChoice, Runtime, Status, Workload, is_workload_id
from caisson.store.records import ListQuery

MAX_WAIT_S = 300


class _WorkloadPath(Convertor[str]):
    """Any text in place of an id but the name of the endpoint beside it."""

    regex = "(?!async$)[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("workload", _WorkloadPath())
submissions = APIRouter(route_class=DirectRoute)
router = APIRouter(route_class=StrictRoute)


@submissions.post(
    "/v1/workloads",
    **operation(
        "run_workload",
        "Run a workload and wait for its end",
        {200: Answer(Workload, "The finished workload, however it ended.", links=LINKS)},
        (400, 409, 413, 415, 422, 429, 503),
        SUBMISSION,
    ),
)
async def run_workload(request: Request) -> Response:
    """If the client closes the connection, or its key ends, the workload is killed."""
    provided, who = services(request), principal(request)
    submission = await read_submission(request, who, provided.data_dir, durable=False)
    return json_response(await while_connected(request.receive, provided.engine.run(submission), who.ended))


@submissions.post(
    "/v1/workloads/async",
    **operation(
        "submit_workload",
        "Accept a workload and run it later",
        {202: Answer(Workload, "The accepted workload; it survives a crash.", headers=("Location",), links=LINKS)},
        (400, 409, 413, 415, 422, 429, 503),
        SUBMISSION,
    ),
)
async def submit_workload(request: Request) -> Response:
    """The workload is on disk before this answers."""
    provided = services(request)
    submission = await read_submission(request, principal(request), provided.data_dir, durable=True)
    workload = await provided.engine.accept(submission)
    return json_response(workload, 202, {"Location": f"/v1/workloads/{workload.id}"})


class ListParameters(BaseModel):
    """Which workloads to list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100, description="Most workloads on the page.")
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    offset: int = Field(default=0, ge=0, le=1_000_000, description="Workloads to skip; a cursor is cheaper.")
    status: Status | None = Field(default=None, description="Only those in this state.")
    isolation: IsolationChoice | None = Field(
        default=None, description="Only those that this isolation runs; with `auto`, those that asked for it."
    )
    runtime: Runtime | None = Field(default=None, description="Only those of this runtime.")
    label: str | None = Field(
        default=None,
        max_length=320,
        pattern=r"^[A-Za-z0-9._/-]+(=[^\x00-\x1f]*)?$",
        description="Only those with this label: `name=value`, or `name` for any value.",
    )


@router.get(
    "/v1/workloads",
    **operation("list_workloads", "List workloads, newest first", {200: Answer(WorkloadPage, "A page.")}, (400, 422)),
)
async def list_workloads(request: Request, parameters: Annotated[ListParameters, Query()]) -> Response:
    """Filters are combined with `and`."""
    query = ListQuery(tenant=tenant(request), **parameters.model_dump())
    return json_response(await services(request).engine.list(query))


class WaitParameters(BaseModel):
    """How long to wait for an end."""

    model_config = ConfigDict(extra="forbid")

    wait: float = Field(default=0, ge=0, le=MAX_WAIT_S, description="Seconds to wait for a terminal state.")


WorkloadId = Annotated[str, Path(alias="id", json_schema_extra=WORKLOAD_ID)]


@router.get(
    "/v1/workloads/{id:workload}",
    **operation(
        "get_workload", "Read a workload", {200: Answer(Workload, "The workload.", links=LINKS)}, (400, 404, 422, 503)
    ),
)
async def get_workload(
    request: Request, workload_id: WorkloadId, parameters: Annotated[WaitParameters, Query()]
) -> Response:
    """With `wait`, answers when the workload has ended or the time is over, whichever comes first."""
    work = services(request).engine.get(known_form(workload_id), tenant(request), parameters.wait)
    return json_response(
        await (while_connected(request.receive, work, principal(request).ended) if parameters.wait else work)
    )


@router.delete(
    "/v1/workloads/{id:workload}",
    **operation("kill_workload", "Kill a workload", {200: Answer(Workload, "The killed workload.")}, (404, 409, 503)),
)
async def kill_workload(request: Request, workload_id: WorkloadId) -> Response:
    """Answers when the sandbox is verified dead."""
    workload = await services(request).engine.kill(known_form(workload_id), tenant(request))
    note(request, "workload.kill", workload.id)
    return json_response(workload)


@router.get(
    "/v1/workloads/{id}/spec",
    **operation(
        "get_workload_spec",
        "Read what was asked for",
        {200: Answer(STORED_SPEC, "The request, without an archive that came with it.")},
        (404,),
    ),
)
async def get_workload_spec(request: Request, workload_id: WorkloadId) -> Response:
    """Needs the scope `run`, for it shows the values of environment variables."""
    spec = await services(request).engine.spec(known_form(workload_id), tenant(request))
    return json_response(msgspec.Raw(spec))


def known_form(workload_id: str) -> str:
    """The id, if it has the form of one. Raises Refused (404): nothing else can exist."""
    if not is_workload_id(workload_id):
        raise Refused(404, Refusal.NOT_FOUND, f"there is no workload {workload_id[:100]!r}", member="id")
    return workload_id
