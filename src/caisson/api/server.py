"""Puts the HTTP application together: routes, problem documents, the guard around it, and its description."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.responses import Response

from caisson.api import benchmarks as benchmark_endpoints
from caisson.api import events, logs, operations, workloads
from caisson.api import images as image_endpoints
from caisson.api.answers import json_response
from caisson.api.auth import Authenticator
from caisson.api.dashboard import Dashboard
from caisson.api.listener import Guard
from caisson.api.oidc import tokens_of
from caisson.api.openapi import describe
from caisson.api.problems import add_handlers
from caisson.api.routes import without_query
from caisson.api.services import Services
from caisson.compare.service import Benchmarks
from caisson.engine.checks import HostChecks
from caisson.engine.engine import Engine
from caisson.images.jobs import ImageJobs
from caisson.settings import Settings, is_loopback, split_listen
from caisson.store.store import Store


def create_app(
    engine: Engine,
    settings: Settings,
    store: Store,
    benchmarks: Benchmarks,
    images: ImageJobs,
    registry: CollectorRegistry = REGISTRY,
) -> FastAPI:
    """The application. API keys are needed unless only this machine can reach `settings.listen`."""
    loopback = is_loopback(split_listen(settings.listen)[0])
    app = _with_routes(tracing=settings.otlp_endpoint is not None)
    host = HostChecks(settings.data_dir, settings.runsc)
    app.state.services = Services(engine, store, benchmarks, images, host, settings.data_dir, registry)
    app.router.default = Dashboard(app.router.default)
    add_handlers(app)
    app.add_middleware(
        Guard,
        authenticator=Authenticator(
            store, keys_needed=not loopback, guesses=settings.key_guesses, tokens=tokens_of(settings)
        ),
        loopback=loopback,
        trusted_hosts=settings.trusted_hosts,
    )
    described = describe(app, keys_needed=not loopback)

    async def openapi(request: Request) -> Response:
        return json_response(described)

    app.add_api_route("/openapi.json", without_query(openapi), include_in_schema=False)
    return app


def description(*, keys_needed: bool) -> dict[str, Any]:
    """What `/openapi.json` answers, without a server."""
    return describe(_with_routes(), keys_needed=keys_needed)


def _with_routes(*, tracing: bool = False) -> FastAPI:
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Metrics and logs are our own; looking for a provider of its own would cost FastAPI time on every request.
        telemetry={"tracing": tracing, "metrics": False, "logs": False},
    )
    # Added as they are: `include_router` would put a second matcher in front of every request.
    for router in (
        *(workloads.submissions, workloads.router, logs.router, events.router, operations.router),
        *(operations.probes, benchmark_endpoints.submissions, benchmark_endpoints.router, image_endpoints.router),
    ):
        app.router.routes.extend(router.routes)
    return app
