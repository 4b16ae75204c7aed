"""Denials get random ids, and their index follows; minimum session versions say how far they lead the clock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns. Rows that hold no denial get no id, and stored minimum versions count as leading by nothing."""
    op.add_column("denials", sa.Column("id", sa.Text))
    op.add_column("denials", sa.Column("minimum_lead", sa.BigInteger, nullable=False, server_default="0"))
    random = "lower(hex(randomblob(16)))"
    if op.get_bind().dialect.name == "postgresql":
        random = "replace(gen_random_uuid()::text, '-', '')"
    op.execute(f"UPDATE denials SET id = {random} WHERE denied_until > 0")  # noqa: S608 - both are written above
    op.drop_index("denials_in_order", "denials")
    op.create_index("denials_in_order", "denials", ["number", "id"])
    op.create_index("one_denial_of_an_id", "denials", ["id"], unique=True)
