"""Add benchmarks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From 0001."""
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("node_id", sa.String, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("finished_at_us", sa.BigInteger),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("results", sa.LargeBinary, nullable=False),
    )
    op.create_index("benchmarks_newest", "benchmarks", ["tenant", "id"])
    op.create_index("benchmarks_by_end", "benchmarks", ["finished_at_us"])
