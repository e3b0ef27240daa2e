"""Make the first tables: workloads, requests, labels, logs, idempotency keys and API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _of_workload(*, primary_key: bool = True) -> sa.Column[str]:
    return sa.Column(
        "workload_id",
        sa.String(26),
        sa.ForeignKey("workloads.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "workloads",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("runtime", sa.String(16), nullable=False),
        sa.Column("isolation", sa.String(16), nullable=False),
        sa.Column("isolation_used", sa.String(16)),
        sa.Column("start", sa.String(16)),
        sa.Column("finished_at_us", sa.BigInteger),
        sa.Column("total_ms", sa.Float),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.CheckConstraint(
            "(finished_at_us IS NULL) = (status IN ('pending', 'running'))", name="finished_when_terminal"
        ),
    )
    op.create_index("workloads_newest", "workloads", ["tenant", "id", "isolation_used", "runtime"])
    op.create_index("workloads_by_status", "workloads", ["tenant", "status", "id", "isolation_used", "runtime"])
    op.create_index(
        "workloads_by_end",
        "workloads",
        ["finished_at_us", "tenant", "status", "isolation_used", "start", "total_ms"],
    )
    op.create_table(
        "requests",
        _of_workload(),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("archive", sa.String),
        sa.Column("attached", sa.Boolean, nullable=False),
    )
    op.create_table(
        "labels",
        _of_workload(),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_index("labels_by_name", "labels", ["name", "value", "workload_id"])
    op.create_table(
        "log_chunks",
        _of_workload(),
        sa.Column("first_seq", sa.BigInteger, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    totals = op.create_table(
        "totals",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(totals, [{"name": "log_bytes", "value": 0}])
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        _of_workload(primary_key=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at_us"])
    op.create_index("idempotency_keys_by_workload", "idempotency_keys", ["workload_id"])
    op.create_table(
        "api_keys",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("prefix", sa.String, nullable=False, unique=True),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger),
        sa.Column("revoked_at_us", sa.BigInteger),
        sa.Column("last_used_at_us", sa.BigInteger),
    )
