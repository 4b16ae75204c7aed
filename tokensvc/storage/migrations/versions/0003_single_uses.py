"""Spent single uses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_single_uses"
down_revision = "0002_policies_and_audit"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "single_uses",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("spent_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
