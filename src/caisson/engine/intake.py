"""What becomes a workload: a request is checked against host, quotas and queue, written down, and begun."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import msgspec
import structlog

from caisson import metrics
from caisson.engine.admission import Admission
from caisson.engine.dispatch import Dispatcher, discard
from caisson.engine.ids import IdMaker
from caisson.engine.live import Live
from caisson.engine.quotas import HOURS, Quotas
from caisson.engine.routing import Route, route
from caisson.errors import CaissonError, Refusal, Refused
from caisson.host.shield import uninterrupted
from caisson.images.oci.claims import Claims
from caisson.images.oci.reference import parse_reference
from caisson.model import Isolation, StartKind, Status, Workload, WorkloadSpec
from caisson.sandbox.contract import Capabilities
from caisson.sandbox.runtimes import normalise
from caisson.store.errors import IdempotencyClash
from caisson.store.records import NewWorkload
from caisson.store.store import Store
from caisson.tenants import AuditEntry

logger = structlog.get_logger(__name__)

POLICIES_FOR_S = 1.0
"""`caisson tenants` writes to the store from another process; it counts within this long."""
_READ_AHEAD_S = 0.75
"""While requests come, policies are read so often beside them, so that none has to wait for it."""
_BUSY_S = 60.0
"""For how long after a request others are expected."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a run, checked for form but not yet for whether this host can do it.

    The engine owns `archive` from here on, also when it refuses. `fingerprint` identifies the request's content.
    `actor` is who asks, for the audit log; None where it is not to be noted. `start` asks for a sandbox that is booted,
    or restored, for this workload alone; without it the fastest way counts.
    """

    spec: WorkloadSpec
    tenant: str
    archive: Path | None = None
    archive_names: Sequence[str] = ()
    idempotency_key: str | None = None
    fingerprint: str = ""
    start: StartKind | None = None
    actor: str | None = None


class Intake:
    """The way into one engine: decides what is let in, and knows what each tenant may use."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        dispatcher: Dispatcher,
        quotas: Quotas,
        claims: Claims,
        capabilities: Mapping[Isolation, Capabilities],
    ) -> None:
        """`capabilities` may be filled, and change, later."""
        self._store = store
        self._admission = admission
        self._dispatcher = dispatcher
        self._quotas = quotas
        self._claims = claims
        self._capabilities = capabilities
        self._policies_read_at = self._asked_at = float("-inf")
        self._new_id = IdMaker()

    async def admit(self, submission: Submission, *, attached: bool) -> Live | str:
        """Accept a submission and begin its life; or the id of the workload its idempotency key already made."""
        try:
            await self._refresh_policies()
            spec, chosen = self.decide(submission)
            if spec.image is not None:
                await self._claim_image(submission.tenant, spec.image)
        except BaseException:
            # Also of a client that went away meanwhile.
            await uninterrupted(discard(submission.archive))
            raise
        workload = Workload(
            id=self._new_id(),
            status=Status.PENDING,
            runtime=spec.runtime,
            isolation=spec.isolation,
            isolation_used=chosen.isolation,
            routing=chosen.reason,
            resources=spec.resources,
            labels=spec.labels,
            created_at=datetime.now(UTC),
        )
        key = submission.idempotency_key
        new = NewWorkload(
            workload=workload,
            tenant=submission.tenant,
            spec=msgspec.json.encode(spec),
            archive=submission.archive.name if submission.archive else None,
            attached=attached,
            idempotency=(key, submission.fingerprint) if key else None,
        )
        live = self._dispatcher.begin(workload, chosen.isolation, submission.tenant, spec, submission.archive, new)
        live.start = submission.start
        self._quotas.accepted(submission.tenant)
        if submission.actor is not None:
            # It goes to disk with the workload itself: a flush of its own for each would double what a short one costs.
            entry = AuditEntry(
                at=workload.created_at,
                tenant=submission.tenant,
                actor=submission.actor,
                action="workload.run",
                target=workload.id,
            )
            self._store.note(entry, patient=True)
        await live.accepted.wait()
        match live.failure:
            case None:
                metrics.workloads_accepted.labels(spec.runtime).inc()
                return live
            case IdempotencyClash(same_request=True, existing_id=existing):
                return existing
            case IdempotencyClash():
                raise Refused(
                    409,
                    Refusal.IDEMPOTENCY_CONFLICT,
                    f"this Idempotency-Key was used for another request ({live.failure.existing_id})",
                    member="Idempotency-Key",
                )
            case failure:
                raise storage_failed(failure)

    def decide(self, submission: Submission) -> tuple[WorkloadSpec, Route]:
        """Whether and where it can run. Raises Refused."""
        if self._dispatcher.draining:
            raise Refused(503, Refusal.SHUTTING_DOWN, "the server is shutting down", retry_after_s=5)
        spec = submission.spec
        chosen = route(
            spec.runtime, spec.isolation, spec.network, self._capabilities, self._quotas.least(submission.tenant)
        )
        spec = normalise(spec, submission.archive_names)
        self._quotas.check(submission.tenant, spec.resources.mem_mb)
        self._admission.check(spec.resources.mem_mb)
        return spec, chosen

    async def recall(self) -> None:
        """What tenants used before this server began to count."""
        for tenant, hour, cpu_ms in await self._store.cpu_spent(datetime.now(UTC) - timedelta(hours=HOURS)):
            self._quotas.spent(tenant, cpu_ms, hour)
        await self._refresh_policies()

    async def keep_policies(self) -> None:
        """Read what tenants may use ahead of the requests, for ever."""
        while True:
            await asyncio.sleep(_READ_AHEAD_S)
            if monotonic() - self._asked_at < _BUSY_S:
                try:
                    await self._read_policies()
                except Exception as error:
                    # Whatever it was: the next look may do better, and the server goes on.
                    why = getattr(error, "detail", repr(error))
                    logger.warning("what tenants may use could not be read", error=why)

    async def _refresh_policies(self) -> None:
        self._asked_at = monotonic()
        if self._asked_at - self._policies_read_at >= POLICIES_FOR_S:
            await self._read_policies()

    async def _read_policies(self) -> None:
        self._policies_read_at = monotonic()
        self._quotas.set_policies(await self._store.tenants())

    async def _claim_image(self, tenant: str, image: str) -> None:
        """Note whose image it is. Raises Refused (429) if the tenant has had too many fetched."""
        limit = self._quotas.image_bytes(tenant)
        try:
            claimed = await asyncio.to_thread(self._claims.claim, tenant, parse_reference(image), limit)
        except OSError as error:
            # The disk may be full, of which fetching the image has more to say.
            logger.warning("whose image it is could not be noted", error=str(error))
            return
        if not claimed:
            raise self._quotas.refuse_image(tenant)


def storage_failed(error: CaissonError) -> Refused:
    """What is answered when the store could not write something down."""
    return Refused(
        503, Refusal.STORAGE, f"the store cannot take this now: {error.message}", retry_after_s=5, detail=error.detail
    )
