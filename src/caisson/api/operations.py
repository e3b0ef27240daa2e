"""The endpoints for operators: backends, nodes, statistics, health and metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from caisson.answers import BackendView, HostCheck, NodeView, Routing, Stats
from caisson.api.answers import Health, json_response
from caisson.api.openapi import Answer, operation
from caisson.api.routes import StrictRoute
from caisson.api.services import principal, services, tenant
from caisson.engine.stats import MAX_WINDOW_S, WINDOW_S
from caisson.errors import Refusal, Refused
from caisson.model import IsolationChoice, Network, NetworkAllow, Runtime
from caisson.store.records import KeyScope
from caisson.tenants import AuditPage

RETRY_AFTER_S = 5

router = APIRouter(route_class=StrictRoute)
probes = APIRouter()
"""What load balancers and scrapers ask for, which add parameters of their own."""


@router.get(
    "/v1/backends",
    **operation("list_backends", "What each isolation can do here", {200: Answer(list[BackendView], "One for each.")}),
)
async def list_backends(request: Request) -> Response:
    """Tells also why an isolation is not available, and what would change that."""
    return json_response(await services(request).engine.backends())


@router.get(
    "/v1/doctor",
    **operation("check_host", "What this host has and lacks", {200: Answer(list[HostCheck], "One for each check.")}),
)
async def check_host(request: Request) -> Response:
    """The checks of `caisson doctor` on the server's host; what each isolation makes of them is in `/v1/backends`."""
    return json_response(await services(request).host.list())


class RoutingParameters(BaseModel):
    """The properties of a workload that decide where it runs."""

    model_config = ConfigDict(extra="forbid")

    runtime: Runtime = Field(description="What it is written in.")
    isolation: IsolationChoice = Field(default=IsolationChoice.AUTO, description="What would be asked for.")
    network: Literal["none", "egress", "allow"] = Field(default="none", description="The kind of its network.")


@router.get(
    "/v1/routing",
    **operation(
        "preview_routing",
        "Say where a workload would run, and why",
        {200: Answer(Routing, "The choice, and what each isolation says.")},
        (400, 422),
    ),
)
async def preview_routing(request: Request, parameters: Annotated[RoutingParameters, Query()]) -> Response:
    """Runs nothing. The same decision as for a workload that is submitted now."""
    network: Network = NetworkAllow(allow=("0.0.0.0/0",)) if parameters.network == "allow" else parameters.network
    return json_response(services(request).engine.routing(parameters.runtime, parameters.isolation, network))


@router.get("/v1/nodes", **operation("list_nodes", "List the nodes", {200: Answer(list[NodeView], "All of them.")}))
async def list_nodes(request: Request) -> Response:
    """Capacity and use of each, and the tenant's workloads that run there."""
    return json_response(await services(request).engine.nodes(tenant(request)))


@router.get("/v1/nodes/{id}", **operation("get_node", "Read a node", {200: Answer(NodeView, "The node.")}, (404,)))
async def get_node(request: Request, node_id: Annotated[str, Path(alias="id")]) -> Response:
    """Its capacity and use, and the tenant's workloads that run there."""
    for node in await services(request).engine.nodes(tenant(request)):
        if node.id == node_id:
            return json_response(node)
    raise Refused(404, Refusal.NOT_FOUND, f"there is no node {node_id[:100]!r}", member="id")


class StatsParameters(BaseModel):
    """What time the figures are about."""

    model_config = ConfigDict(extra="forbid")

    window: int = Field(
        default=WINDOW_S, ge=60, le=MAX_WINDOW_S, description="Seconds back from now that latencies and series cover."
    )


@router.get(
    "/v1/stats", **operation("get_stats", "Figures for charts", {200: Answer(Stats, "Counts and series.")}, (422,))
)
async def get_stats(request: Request, parameters: Annotated[StatsParameters, Query()]) -> Response:
    """Counts, latency percentiles and time series of the tenant's workloads; pools; the host's load."""
    may_see_nodes = KeyScope.ADMIN in principal(request).scopes
    engine = services(request).engine
    return json_response(await engine.stats(tenant(request), parameters.window, of_host=may_see_nodes))


class AuditParameters(BaseModel):
    """Which part of the audit log to read."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000, description="Most entries.")
    before: int | None = Field(default=None, ge=1, le=2**53 - 1, description="Only entries with a smaller number.")
    of: str | None = Field(default=None, max_length=200, description="Only entries of this tenant.")
    actor: str | None = Field(default=None, max_length=200, description="Only what this one did.")
    action: str | None = Field(default=None, max_length=200, description="Only entries of this kind.")


@router.get(
    "/v1/audit", **operation("read_audit", "Read the audit log", {200: Answer(AuditPage, "A page of it.")}, (422,))
)
async def read_audit(request: Request, parameters: Annotated[AuditParameters, Query()]) -> Response:
    """Who did what, newest first, of all tenants. Entries are added and, when they are old, removed; never changed."""
    wanted = parameters
    store = services(request).store
    return json_response(await store.noted(wanted.limit, wanted.before, wanted.of, wanted.actor, wanted.action))


@probes.get("/healthz", **operation("health", "Whether the server is alive", {200: Answer(Health, "It is.")}))
async def health(request: Request) -> Response:
    """Answers as long as the process can."""
    return json_response(Health("ok"))


@probes.get(
    "/readyz", **operation("readiness", "Whether workloads can be run", {200: Answer(Health, "They can.")}, (503,))
)
async def readiness(request: Request) -> Response:
    """Ready when the store is open and at least one isolation is usable."""
    problem = await services(request).engine.readiness()
    if problem is not None:
        raise Refused(503, Refusal.NOT_READY, problem, retry_after_s=RETRY_AFTER_S)
    return json_response(Health("ready"))


@probes.get(
    "/metrics",
    **operation("metrics", "Metrics for Prometheus", {200: Answer(str, "All metrics.", media_type="text/plain")}),
)
async def metrics(request: Request) -> Response:
    """In the text format."""
    return Response(generate_latest(services(request).registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
