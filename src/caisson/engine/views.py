"""What the engine tells of its backends and its node: from what it knows to the answers' shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from caisson import __version__
from caisson.answers import BackendView, Capacity, HostLoad, NodeView, PoolView
from caisson.engine.admission import Admission
from caisson.engine.live import Live
from caisson.model import Isolation, Status
from caisson.sandbox.contract import Capabilities
from caisson.settings import Settings


def backend_views(
    capabilities: Mapping[Isolation, Capabilities], pools: Mapping[Isolation, list[PoolView]]
) -> list[BackendView]:
    """One for each isolation, by name."""
    return [
        BackendView(
            isolation=isolation,
            available=found.available,
            reason=found.reason,
            fix=found.fix,
            runtimes=sorted(found.runtimes),
            missing=dict(found.missing),
            limits=sorted(found.limits),
            networks=sorted(found.networks),
            acceleration=found.acceleration,
            facts=dict(found.facts),
            pool=pools.get(isolation, []),
        )
        for isolation, found in sorted(capabilities.items())
    ]


def node_view(
    node_id: str,
    tenant: str,
    settings: Settings,
    admission: Admission,
    lives: Iterable[Live],
    isolations: Iterable[Isolation],
    started_at: datetime,
    load: HostLoad,
    *,
    draining: bool,
) -> NodeView:
    """This node: what it has to give, what it has given, and to which of the tenant's workloads.

    Others' count in what is used, but their ids are nobody else's business.
    """
    running = [live for live in lives if live.workload.status is Status.RUNNING]
    return NodeView(
        id=node_id,
        status="draining" if draining else "ready",
        version=__version__,
        started_at=started_at,
        capacity=Capacity(cpus=settings.cpus, mem_mb=settings.memory_limit_mb, workloads=settings.running_limit),
        used=Capacity(
            cpus=sum(live.spec.resources.cpus for live in running),
            mem_mb=admission.used_mb,
            workloads=admission.running,
        ),
        queued=admission.queued,
        isolations=sorted(isolations),
        running=sorted(live.workload.id for live in running if live.tenant == tenant),
        load=load,
    )
