"""The endpoints for guest images: what there is, building and pulling, and how far that has come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from caisson import metrics
from caisson.answers import ImageJob, ImageJobStatus, ImageList
from caisson.api.answers import json_response
from caisson.api.negotiation import negotiate
from caisson.api.openapi import EVENT_STREAM, IMAGE_EVENT, WORKLOAD_ID, Answer, link, operation
from caisson.api.routes import StrictRoute
from caisson.api.services import note, services
from caisson.api.streams import EventStream
from caisson.errors import Refusal, Refused
from caisson.model import is_workload_id

router = APIRouter(route_class=StrictRoute)
_encode = msgspec.json.Encoder().encode
_LINKS = {"get": link("get_image_job"), "follow": link("follow_image_job"), "cancel": link("cancel_image_job")}

ImageName = Annotated[str, Path(alias="name", description="An image that can be built.")]
JobId = Annotated[str, Path(alias="id", json_schema_extra={**WORKLOAD_ID, "description": "A job's id, a ULID."})]


@router.get(
    "/v1/images",
    **operation("list_images", "List guest images", {200: Answer(ImageList, "Images, what can be built, and jobs.")}),
)
async def list_images(request: Request) -> Response:
    """What sandboxes on this machine can start from."""
    return json_response(await services(request).images.list())


@router.post(
    "/v1/images/{name}/build",
    **operation(
        "build_image",
        "Build a guest image",
        {202: Answer(ImageJob, "The build that has begun.", headers=("Location",), links=_LINKS)},
        (404, 409),
    ),
)
async def build_image(request: Request, name: ImageName) -> Response:
    """From Debian packages; new sandboxes take the image when it is done."""
    job = services(request).images.start_build(name)
    note(request, "image.build", name)
    return _accepted(job)


@router.post(
    "/v1/images/{name}/pull",
    **operation(
        "pull_image",
        "Pull a guest image",
        {202: Answer(ImageJob, "The pull that has begun.", headers=("Location",), links=_LINKS)},
        (404, 409, 422),
    ),
)
async def pull_image(request: Request, name: ImageName) -> Response:
    """From the source that the operator has set; new sandboxes take the image when it is here."""
    job = services(request).images.start_pull(name)
    note(request, "image.pull", name)
    return _accepted(job)


@router.get(
    "/v1/images/jobs/{id}",
    **operation("get_image_job", "Read a build or pull", {200: Answer(ImageJob, "The job.")}, (404,)),
)
async def get_image_job(request: Request, job_id: JobId) -> Response:
    """Jobs are forgotten when the server restarts."""
    return json_response(services(request).images.get(_known_form(job_id)))


@router.delete(
    "/v1/images/jobs/{id}",
    **operation(
        "cancel_image_job", "Cancel a build or pull", {200: Answer(ImageJob, "The cancelled job.")}, (404, 409)
    ),
)
async def cancel_image_job(request: Request, job_id: JobId) -> Response:
    """Answers when its processes have ended and nothing half made is left; an image that was there before stays."""
    job = await services(request).images.cancel(_known_form(job_id))
    note(request, "image.cancel", job.image)
    return json_response(job)


@router.get(
    "/v1/images/jobs/{id}/events",
    **operation(
        "follow_image_job",
        "Follow a build or pull",
        {
            200: Answer(
                IMAGE_EVENT, "`event: progress` at every change, `event: done` at the end.", media_type=EVENT_STREAM
            )
        },
        (404, 406),
    ),
)
async def follow_image_job(request: Request, job_id: JobId) -> Response:
    """Begins with how far it is now."""
    negotiate(request.headers.get("accept"), [EVENT_STREAM])
    images = services(request).images
    images.get(_known_form(job_id))
    return EventStream(_blocks(images.follow(job_id)), metrics.event_streams_open)


async def _blocks(states: AsyncGenerator[ImageJob]) -> AsyncGenerator[bytes]:
    async with aclosing(states):
        async for job in states:
            event = b"progress" if job.status is ImageJobStatus.RUNNING else b"done"
            yield b"event: %b\ndata: %b\n\n" % (event, _encode(job))


def _accepted(job: ImageJob) -> Response:
    return json_response(job, 202, {"Location": f"/v1/images/jobs/{job.id}"})


def _known_form(job_id: str) -> str:
    if not is_workload_id(job_id):
        raise Refused(404, Refusal.NOT_FOUND, f"there is no job {job_id[:100]!r}", member="id")
    return job_id
