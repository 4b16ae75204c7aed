"""Workers tell how long a question to the store may take them: it is a part of R, like their leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; who has not told yet counts with the most that settings allow."""
    op.add_column("workers", sa.Column("store_timeout_seconds", sa.Double, nullable=False, server_default="60"))
