"""Workers say what signs their tokens, and why no faster signer does."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns, empty for workers that have not said it yet."""
    for name in ("signer", "why_not_faster"):
        op.add_column("workers", sa.Column(name, sa.Text, nullable=False, server_default=sa.text("''")))
