"""Builds and pulls that a server carries out on request: begun, followed, remembered for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec.structs import replace
from ulid import ULID

from caisson.answers import BuildableImage, ImageJob, ImageJobKind, ImageJobStatus, ImageList, ImageView
from caisson.errors import CaissonError, Refusal, Refused
from caisson.images import making
from caisson.images.catalog import Catalog, Image
from caisson.images.definitions import Definition
from caisson.images.errors import ImageMissing
from caisson.images.progress import Progress, Report
from caisson.images.retention import collect
from caisson.images.sources import open_source
from caisson.images.transfer import pull
from caisson.settings import Settings

logger = structlog.get_logger(__name__)

REMEMBERED = 50
"""Finished jobs that can still be read; a restart forgets all."""

COLLECT_EVERY_S = 3600

Work = Callable[[Report], Coroutine[Any, Any, Image]]


@dataclass(slots=True)
class _Entry:
    view: ImageJob
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, at every change."""
    task: asyncio.Task[None] | None = None
    cancelled: bool = False

    def update(self, **changes: Any) -> None:
        self.view = replace(self.view, **changes)
        self.changed.set()
        self.changed = asyncio.Event()


class ImageJobs:
    """The jobs of one server. One at a time is worked on, for each uses a processor or the line fully."""

    def __init__(self, settings: Settings) -> None:
        self.catalog = Catalog(settings.images_folder)
        self._settings = settings
        self._source = settings.images_source
        self._keys = settings.images_keys
        self._jobs: dict[str, _Entry] = {}
        self._turn = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ImageJobs]:
        """Accept jobs; those that are not done when this is left are cancelled and leave nothing half made."""
        await asyncio.to_thread(self.catalog.sweep)
        async with asyncio.TaskGroup() as group:
            self._group = group
            collecting = group.create_task(self._collect())
            try:
                yield self
            finally:
                collecting.cancel()
                self.stop()

    def stop(self) -> None:
        """Accept no more jobs and cancel those that are not done; each is over when it has cleaned up."""
        self._group = None
        for entry in self._jobs.values():
            if entry.task is not None:
                entry.task.cancel()

    async def list(self) -> ImageList:
        """The images here, what can be built, and the jobs."""
        images = await asyncio.to_thread(self.catalog.images)
        return ImageList(
            images=[self._view(image) for image in images],
            buildable=[_buildable(making.definition(name), self.catalog.find(name)) for name in making.names()],
            source=self._source,
            jobs=[entry.view for entry in reversed(self._jobs.values())],
        )

    def start_build(self, name: str) -> ImageJob:
        """Begin to build an image. Raises Refused: 404 for one that has no definition, 409 while it is worked on."""
        definition = _definition(name)
        make = making.maker(name)
        return self._start(ImageJobKind.BUILD, name, lambda report: make(self.catalog, definition, report=report))

    def start_pull(self, name: str) -> ImageJob:
        """Begin to pull an image. Raises Refused: as `start_build`, and 422 where no source is set."""
        _definition(name)
        source = self._source
        if source is None:
            message = "no source of images is set; name one in CAISSON_IMAGES_SOURCE, or build the image"
            raise Refused(422, Refusal.UNSUPPORTED, message, member="name")

        async def work(report: Report) -> Image:
            async with open_source(source) as opened:
                return await pull(self.catalog, opened, name, keys=self._keys, report=report)

        return self._start(ImageJobKind.PULL, name, work)

    def get(self, job_id: str) -> ImageJob:
        """One job. Raises Refused (404)."""
        return self._entry(job_id).view

    async def cancel(self, job_id: str) -> ImageJob:
        """End a job, which is over and leaves nothing half made when this returns. Raises Refused: 404, or 409."""
        entry = self._entry(job_id)
        if entry.task is None or entry.view.status is not ImageJobStatus.RUNNING:
            raise Refused(409, Refusal.CONFLICT, f"the job is over: {entry.view.status}", member="id")
        entry.cancelled = True
        entry.task.cancel()
        await asyncio.wait([entry.task])
        return entry.view

    async def follow(self, job_id: str) -> AsyncGenerator[ImageJob]:
        """The job at every change, the last time when it is over. Steps that pass too fast may be left out."""
        entry = self._entry(job_id)
        while True:
            changed, view = entry.changed, entry.view
            yield view
            if view.status is not ImageJobStatus.RUNNING:
                return
            await changed.wait()

    def _start(self, kind: ImageJobKind, name: str, work: Work) -> ImageJob:
        if self._group is None:
            raise Refused(503, Refusal.SHUTTING_DOWN, "the server is shutting down", retry_after_s=10)
        for entry in self._jobs.values():
            if entry.view.image == name and entry.view.status is ImageJobStatus.RUNNING:
                message = f"the image {name} is being worked on already, in job {entry.view.id}"
                raise Refused(409, Refusal.CONFLICT, message, member="name")
        view = ImageJob(
            id=str(ULID()),
            kind=kind,
            image=name,
            status=ImageJobStatus.RUNNING,
            step="waiting for its turn",
            started_at=datetime.now(UTC),
        )
        entry = self._jobs[view.id] = _Entry(view)
        entry.task = self._group.create_task(self._work(entry, work))
        self._forget()
        return view

    async def _collect(self) -> None:
        """Remove old images from time to time."""
        keep_days, keep_mb = self._settings.images_keep_days, self._settings.images_keep_mb
        while True:
            try:
                removed = await asyncio.to_thread(collect, self.catalog, keep_days=keep_days, keep_mb=keep_mb)
            except Exception as error:
                # The server goes on, whatever it was.
                logger.error("old images could not be removed", error=str(error))
            else:
                for image in removed:
                    logger.info("old image removed", image=image.name, version=image.version, digest=image.digest)
            await asyncio.sleep(COLLECT_EVERY_S)

    async def _work(self, entry: _Entry, work: Work) -> None:
        def report(progress: Progress) -> None:
            entry.update(step=progress.step, done_bytes=progress.done, total_bytes=progress.total)

        ended: dict[str, Any] = {"status": ImageJobStatus.FAILED, "error": "the server was stopped"}
        try:
            async with self._turn:
                image = await work(report)
            ended = {"status": ImageJobStatus.COMPLETED, "step": "done", "digest": image.digest}
        except CaissonError as error:
            logger.error("image job failed", job=entry.view.id, image=entry.view.image, error=error.detail)
            ended["error"] = error.message
        except Exception as error:
            # One job's fault, a full disk for example, must not end the server.
            logger.exception("image job broke", job=entry.view.id, image=entry.view.image)
            ended["error"] = f"something unexpected went wrong ({type(error).__name__}); the server's log says what"
        except asyncio.CancelledError:
            if entry.cancelled:
                ended = {"status": ImageJobStatus.CANCELLED}
            raise
        finally:
            entry.update(done_bytes=None, total_bytes=None, finished_at=datetime.now(UTC), **ended)

    def _forget(self) -> None:
        over = [job_id for job_id, entry in self._jobs.items() if entry.view.status is not ImageJobStatus.RUNNING]
        for job_id in over[: max(0, len(over) - REMEMBERED)]:
            del self._jobs[job_id]

    def _entry(self, job_id: str) -> _Entry:
        try:
            return self._jobs[job_id]
        except KeyError as error:
            raise Refused(404, Refusal.NOT_FOUND, f"there is no job {job_id[:100]!r}", member="id") from error

    def _view(self, image: Image) -> ImageView:
        return ImageView(
            name=image.name,
            version=image.version,
            arch=image.arch,
            digest=image.digest,
            current=self.catalog.is_current(image),
            size=image.manifest.size,
            summary=image.manifest.summary,
            packages=len(image.manifest.packages),
            installed_at=datetime.fromtimestamp(image.installed_at_s, UTC),
        )


def _definition(name: str) -> Definition:
    try:
        return making.definition(name)
    except ImageMissing as error:
        raise Refused(404, Refusal.NOT_FOUND, error.message, member="name") from error


def _buildable(definition: Definition, image: Image | None) -> BuildableImage:
    return BuildableImage(
        name=definition.name,
        summary=definition.summary,
        built=image is not None,
        outdated=image is not None and image.manifest.recipe != definition.digest,
    )
