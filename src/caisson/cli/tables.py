"""What commands print for people: tables of what the API answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.json import encode
from rich.table import Table
from rich.text import Text

from caisson.answers import BackendView, NodeView
from caisson.benchmark import Benchmark, BenchmarkHead, Unit
from caisson.cli.terminal import harmless
from caisson.client import Workload
from caisson.store.records import ApiKey
from caisson.tenants import AuditRow

_COLOURS = {
    "pending": "yellow",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "killed": "magenta",
    "ready": "green",
}
_FOLDED = frozenset({"NOTE", "WHY", "ISOLATIONS", "SCOPES", "TENANT"})
"""Columns that may take several lines where the terminal is narrow."""
_ROOMY = 96
_OUTPUT_SHOWN = 2_000
"""Characters of a workload's output that `status` shows; --json has all of it."""


def workloads(rows: Iterable[Workload], width: int) -> Table:
    """One line a workload; the isolation only where there is room for it."""
    roomy = width >= _ROOMY
    table = _table("ID", "STATUS", "RUNTIME", *(["ISOLATION"] if roomy else []), "AGE", "TOOK", "WHY")
    for row in rows:
        table.add_row(
            row.id,
            _state(row.status),
            row.runtime,
            *([row.isolation_used or f"({row.isolation})"] if roomy else []),
            _age(row.created_at),
            _milliseconds(row.duration_ms),
            row.error.reason if row.error else "",
        )
    return table


def workload(row: Workload) -> Table:
    """All of one workload that there is to say."""
    usage, timings, limits = row.usage, row.timings, row.resources
    return _facts(
        {
            "id": row.id,
            "status": _state(row.status),
            "error": f"{row.error.reason}: {row.error.message}" if row.error else None,
            "exit code": row.exit_code,
            "output": _shortened(encode(row.output).decode()) if row.output is not None else None,
            "runtime": row.runtime,
            "isolation": f"{row.isolation_used or 'not yet chosen'} (asked for {row.isolation})",
            "routing": row.routing,
            "node": row.node_id,
            "start": row.start,
            "limits": f"{limits.cpus:g} CPU, {limits.mem_mb} MiB, {limits.disk_mb} MiB disk, {limits.timeout_s:g} s",
            "used": _joined({"CPU": _milliseconds(usage.cpu_ms), "memory": _mebibytes(usage.peak_mem_mb)}),
            "network": None
            if usage.rx_bytes is None
            else f"{usage.rx_bytes:,} bytes received, {usage.tx_bytes or 0:,} sent",
            "time": _joined(
                {
                    "queued": _milliseconds(timings.queued_ms),
                    "start": _milliseconds(timings.start_ms),
                    "run": _milliseconds(timings.exec_ms),
                    "in all": _milliseconds(timings.total_ms),
                }
            ),
            "labels": ", ".join(f"{name}={value}" for name, value in row.labels.items()),
            "created": _instant(row.created_at),
            "started": _instant(row.started_at),
            "finished": _instant(row.finished_at),
        }
    )


def nodes(rows: Iterable[NodeView]) -> Table:
    """One line a node."""
    table = _table("NODE", "STATUS", "RUNNING", "QUEUED", "CPUS", "MEMORY MIB", "UP", "ISOLATIONS")
    for row in rows:
        used, has = row.used, row.capacity
        table.add_row(
            harmless(row.id),
            _state(row.status),
            f"{used.workloads}/{has.workloads}",
            str(row.queued),
            f"{used.cpus:g}/{has.cpus:g}",
            f"{used.mem_mb}/{has.mem_mb}",
            _age(row.started_at),
            ", ".join(row.isolations) or "none",
        )
    return table


def backend(row: BackendView) -> Table:
    """What one isolation can do and lacks."""
    return _facts(
        {
            row.isolation: Text("available", "green") if row.available else Text("not available", "red"),
            "  why": row.reason,
            "  to get it": row.fix,
            "  runtimes": ", ".join(row.runtimes),
            **{f"  no {runtime}": why for runtime, why in row.missing.items()},
            "  waiting": ", ".join(f"{pool.runtime} {pool.ready} of {pool.target}" for pool in row.pool),
            "  limits": ", ".join(row.limits),
            "  networks": ", ".join(row.networks),
            "  acceleration": row.acceleration,
            **{f"  {name}": value for name, value in row.facts.items()},
        }
    )


def images(rows: Iterable[Mapping[str, Any]]) -> Table:
    """One line an image."""
    table = _table("NAME", "VERSION", "CURRENT", "ARCH", "MIB", "AGE", "DIGEST")
    for row in rows:
        table.add_row(
            row["name"],
            row["version"],
            "yes" if row["current"] else "",
            row["arch"],
            f"{row['size'] / (1 << 20):.0f}",
            _age(row["installed_at"]),
            row["digest"][:19],
        )
    return table


def tenants(rows: Mapping[str, str]) -> Table:
    """One line a tenant."""
    table = _table("TENANT", "MAY")
    for name, policy in rows.items():
        table.add_row(harmless(name), policy)
    return table


def audit(rows: Iterable[AuditRow]) -> Table:
    """One line an entry."""
    table = _table("WHEN", "TENANT", "WHO", "DID", "TO", "MORE")
    for row in rows:
        table.add_row(
            _instant(row.at) or "",
            harmless(row.tenant),
            harmless(row.actor),
            row.action,
            harmless(row.target),
            harmless(row.detail or ""),
        )
    return table


def keys(rows: Iterable[ApiKey]) -> Table:
    """One line a key."""
    table = _table("KEY", "TENANT", "SCOPES", "CREATED", "EXPIRES", "REVOKED", "LAST USED")
    for row in rows:
        table.add_row(
            f"csn_{row.prefix}",
            harmless(row.tenant),
            ", ".join(sorted(row.scopes)),
            f"{_age(row.created_at)} ago",
            _minute(row.expires_at) or "never",
            _minute(row.revoked_at) or "-",
            f"{_age(row.last_used_at)} ago" if row.last_used_at else "never",
        )
    return table


def benchmark(row: Benchmark) -> Table:
    """One line a result; programs and what they ran on only where they change."""
    table = _table("PROGRAM", "ON", "MEASURE", "MEDIAN", "P25", "P75", "P99", "SAMPLES", "NOTE")
    last: tuple[str, str] | None = None
    for result in row.results:
        program = f"{result.program} ({result.runtime})"
        this = program, result.subject
        numbers = ["-"] * 4
        if result.spread is not None:
            spread = result.spread
            numbers = [_figure(value, result.unit) for value in (spread.p50, spread.p25, spread.p75, spread.p99)]
        table.add_row(
            program if last is None or last[0] != program else "",
            result.subject if last != this else "",
            result.measure.replace("_", " "),
            *numbers,
            str(len(result.samples)),
            harmless(result.note or ""),
        )
        last = this
    return table


def benchmarks(rows: Iterable[BenchmarkHead]) -> Table:
    """One line a benchmark."""
    table = _table("ID", "STATUS", "OF", "ON", "AGE", "WHY")
    for row in rows:
        table.add_row(
            row.id,
            _state(row.status),
            "a workload" if row.request.workload else "the suite",
            harmless(row.host.get("isolations", "")),
            _age(row.created_at),
            harmless(row.error or ""),
        )
    return table


def _figure(value: float, unit: Unit) -> str:
    match unit:
        case Unit.MS:
            return _milliseconds(value)
        case Unit.MIB:
            return _mebibytes(value)
        case Unit.PER_S:
            return f"{value:.3g} /s"
        case Unit.TIMES:
            return f"{value:.3g} x"


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading not in _FOLDED)
    return table


def _facts(facts: Mapping[str, Text | str | int | None]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None and value != "":
            table.add_row(name, value if isinstance(value, Text) else harmless(str(value)))
    return table


def _state(status: str) -> Text:
    return Text(status, _COLOURS.get(status, ""))


def _joined(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value != "-")


def _shortened(text: str) -> str:
    return text if len(text) <= _OUTPUT_SHOWN else f"{text[:_OUTPUT_SHOWN]}… ({len(text)} characters; --json has all)"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.3g} ms" if value < 100 else f"{value:.0f} ms"


def _mebibytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} MiB"


def _instant(value: datetime | None) -> str | None:
    return value.astimezone().isoformat(sep=" ", timespec="milliseconds") if value else None


def _minute(value: datetime | None) -> str | None:
    return value.astimezone().strftime("%Y-%m-%d %H:%M") if value else None


def _age(since: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
