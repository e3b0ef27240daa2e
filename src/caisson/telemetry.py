"""Structured logs and, where the operator wants them, traces.

Logs go to stderr. They carry ids, reasons and sizes, never code, input, environment values or keys.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, nullcontext

import structlog
from opentelemetry import trace

from caisson import __version__
from caisson.settings import Settings

_tracer: trace.Tracer | None = None


def span(name: str, **attributes: str) -> AbstractContextManager[object]:
    """A span around a piece of work; nothing at all unless the operator wants traces."""
    if _tracer is None:
        return nullcontext()
    return _tracer.start_as_current_span(name, attributes={f"caisson.{key}": text for key, text in attributes.items()})


def configure(settings: Settings) -> None:
    """Set up logging, and tracing if `otlp_endpoint` is set. Called once, before anything is logged."""
    _configure_logs(settings)
    if settings.otlp_endpoint:
        _configure_traces(settings.otlp_endpoint)


def _configure_logs(settings: Settings) -> None:
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    # Tracebacks go without local variables, among which are users' code and keys.
    if console:
        plain = structlog.dev.plain_traceback
        renderer = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    else:
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderer = [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # Their records at `info` say nothing that the server's own do not.
    for name in ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _configure_traces(endpoint: str) -> None:
    # Imported only here: the SDK and its exporter cost memory that most servers need not spend.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "caisson", "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    global _tracer
    _tracer = trace.get_tracer("caisson", __version__)
