"""Versions carry a random tag that each change renews, and their recent history is kept: a restored store is noticed.

The first entry of each history is the version that the migration finds: a reader can only have read it after this.

The deployment counts the subject keys that were ever made, so that a lost one is not silently replaced. A store that
has none and has denials or revocations is taken to have lost its own.
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
    op.add_column("deployment", sa.Column("subject_keys_made", sa.Integer, nullable=False, server_default="0"))
    _count_subject_keys(op.get_bind())
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


def _count_subject_keys(connection: sa.Connection) -> None:
    made = connection.execute(sa.text("SELECT max(version) FROM subject_keys")).scalar()
    if made is None:
        tables = ("denials", "revocations")
        made = int(any(connection.execute(sa.text(f"SELECT 1 FROM {t} LIMIT 1")).first() for t in tables))  # noqa: S608 - names of ours
    connection.execute(sa.text("UPDATE deployment SET subject_keys_made = :made"), {"made": made})
