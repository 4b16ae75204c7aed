"""Revocations and their queue, denials, idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    """Make the tables, and the numbers that their changes are counted by."""
    op.create_table(
        "denials",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("denied_until", sa.BigInteger, nullable=False),
        sa.Column("minimum_version", sa.BigInteger, nullable=False),
        sa.Column("over_at", sa.BigInteger, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_index("denials_in_order", "denials", ["number", "digest"])
    op.create_index("ix_denials_over_at", "denials", ["over_at"])
    _make_queue()
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body_digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
    )
    op.create_index("ix_idempotency_keys_used_at", "idempotency_keys", ["used_at"])
    versions = sa.table("versions", sa.column("name", sa.Text), sa.column("n", sa.BigInteger))
    op.bulk_insert(versions, [{"name": name, "n": 0} for name in ("denials", "revocations")])


def _make_queue() -> None:
    op.create_table(
        "revocation_entries",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("channel_arn", sa.Text, nullable=False),
        sa.Column("viewer_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.SmallInteger, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.CheckConstraint("(state = 'queued') = (ended_at IS NULL)", name="queued_until_it_ends"),
    )
    due = ["account", "region", "lane", "id", "due_at"]
    _index("revocation_entries_due", due, _QUEUED)
    _index("one_queued_entry_per_viewer", ["digest"], sa.text("ended_at IS NULL"), unique=True)
    _index("revocation_entries_ended", ["ended_at"], sa.text("ended_at IS NOT NULL"))
    op.create_table(
        "revocations",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("accepted_at", sa.Double, nullable=False),
        sa.Column("readmit_after", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "revocation_targets",
        sa.Column("revocation", sa.BigInteger, sa.ForeignKey("revocations.number"), primary_key=True),
        sa.Column("entry", sa.BigInteger, sa.ForeignKey("revocation_entries.id"), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
    )
    op.create_index("ix_revocation_targets_entry", "revocation_targets", ["entry"])


def _index(name: str, columns: list[str], where: sa.TextClause, *, unique: bool = False) -> None:
    op.create_index(name, "revocation_entries", columns, unique=unique, sqlite_where=where, postgresql_where=where)
