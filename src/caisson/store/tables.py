"""The tables, as the newest migration leaves them; a test holds the two together.

Instants are whole microseconds since 1970 in UTC, which both databases keep and compare exactly.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()


def _of_workload(*, primary_key: bool = True) -> Column[str]:
    return Column(
        "workload_id",
        String(26),
        ForeignKey("workloads.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


workloads = Table(
    "workloads",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String, nullable=False),
    Column("status", String(16), nullable=False),
    Column("runtime", String(16), nullable=False),
    Column("isolation", String(16), nullable=False),
    Column("isolation_used", String(16)),
    Column("start", String(16)),
    Column("finished_at_us", BigInteger),
    Column("total_ms", Float),
    Column("cpu_ms", Float),
    Column("body", LargeBinary, nullable=False),
    CheckConstraint("(finished_at_us IS NULL) = (status IN ('pending', 'running'))", name="finished_when_terminal"),
    Index("workloads_newest", "tenant", "id", "isolation_used", "runtime"),
    Index("workloads_by_status", "tenant", "status", "id", "isolation_used", "runtime"),
    Index("workloads_by_end", "finished_at_us", "tenant", "status", "isolation_used", "start", "total_ms"),
)
"""One row a workload. `body` is the whole of it as JSON, the other columns are what is searched.

The indexes carry what counts and figures are made of, which then never read the much larger rows.
"""

requests = Table(
    "requests",
    metadata,
    _of_workload(),
    Column("spec", LargeBinary, nullable=False),
    Column("archive", String),
    Column("attached", Boolean, nullable=False),
)
"""What was asked for. Apart from `workloads`, so that a change of state does not rewrite megabytes of code."""

labels = Table(
    "labels",
    metadata,
    _of_workload(),
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("labels_by_name", "name", "value", "workload_id"),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    _of_workload(),
    Column("first_seq", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

totals = Table(
    "totals",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Sums kept up to date by whoever changes what they count: `log_bytes` is the size of all of `log_chunks.data`."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    _of_workload(primary_key=False),
    Column("created_at_us", BigInteger, nullable=False),
    Index("idempotency_keys_by_age", "created_at_us"),
    Index("idempotency_keys_by_workload", "workload_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("prefix", String, nullable=False, unique=True),
    Column("tenant", String, nullable=False),
    Column("scopes", String, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
    Column("last_used_at_us", BigInteger),
)

benchmarks = Table(
    "benchmarks",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String, nullable=False),
    Column("node_id", String, nullable=False),
    Column("status", String(16), nullable=False),
    Column("finished_at_us", BigInteger),
    Column("head", LargeBinary, nullable=False),
    Column("results", LargeBinary, nullable=False),
    Index("benchmarks_newest", "tenant", "id"),
    Index("benchmarks_by_end", "finished_at_us"),
)
"""One row a benchmark; its samples are apart from what a list shows."""

tenants = Table(
    "tenants",
    metadata,
    Column("name", String, primary_key=True),
    Column("policy", LargeBinary, nullable=False),
)
"""Policies as JSON, of the tenants that have one."""

audit = Table(
    "audit",
    metadata,
    # SQLite numbers rows by itself only where the type is exactly this one.
    Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("at_us", BigInteger, nullable=False),
    Column("tenant", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("detail", String),
    Index("audit_by_age", "at_us"),
    Index("audit_by_tenant", "tenant", "seq"),
    sqlite_autoincrement=True,
)
"""Who did what. A trigger refuses changes of rows; only the sweep removes any."""
