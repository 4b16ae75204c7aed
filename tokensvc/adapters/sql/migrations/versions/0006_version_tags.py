"""Versions carry a random tag that each change renews, and their recent history is kept: a restored store is noticed.

The first entry of each history is the version that the migration finds: a reader can only have read it after this.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

HISTORY_LENGTH = 16_384
"""As `changes.HISTORY_LENGTH` was when this was written; a test holds the two equal."""
_WITH_HISTORY = ("deployment", "keys", "callers", "channels", "denials")


def upgrade() -> None:
    """Add the columns and the table, and draw a tag for every version that is there."""
    op.add_column("versions", sa.Column("tag", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("workers", sa.Column("keys_tag", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("workers", sa.Column("deployment_tag", sa.Text, nullable=False, server_default=sa.text("''")))
    history = op.create_table(
        "version_history",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
    )
    versions = sa.table(
        "versions", sa.column("name", sa.Text), sa.column("n", sa.BigInteger), sa.column("tag", sa.Text)
    )
    connection = op.get_bind()
    for name, number in connection.execute(sa.select(versions.c.name, versions.c.n)).all():
        tag = secrets.token_hex(8)
        connection.execute(sa.update(versions).where(versions.c.name == name).values(tag=tag))
        if name in _WITH_HISTORY:
            kept = {"name": name, "slot": number % HISTORY_LENGTH, "n": number, "tag": tag}
            connection.execute(sa.insert(history).values(kept))
