"""The whole life of keys: the journal, rotations asked for, workers' heartbeats, the rotation policy, compromise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Add what a store of the first release has not. Keys stay as they are; rotation by age is off until it is set."""
    op.add_column("deployment", sa.Column("key_lead_seconds", sa.Double, nullable=False, server_default="30"))
    op.add_column("deployment", sa.Column("key_max_age_seconds", sa.Double))
    op.add_column("deployment", sa.Column("key_standby", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("key_pairs", sa.Column("compromised_at", _INSTANT))
    op.add_column("key_pairs", sa.Column("longest_ttl_seconds", sa.Integer, nullable=False, server_default="0"))
    op.add_column("key_places", sa.Column("compromised_at", _INSTANT))
    op.add_column("key_places", sa.Column("deleting_at", _INSTANT))
    op.add_column("key_places", sa.Column("fingerprint_differs", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "key_journal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False, index=True),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("begun_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT, index=True),
        sa.Column("outcome", sa.Text),
    )
    op.create_index(
        "one_open_step_of_a_kind",
        "key_journal",
        ["kind", "key_id", "region"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_table(
        "key_rotations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("requested_at", _INSTANT, nullable=False, index=True),
        sa.Column("replaces", sa.JSON, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("lease_seconds", sa.Double, nullable=False),
        sa.Column("keys_version", sa.BigInteger, nullable=False),
        sa.Column("deployment_version", sa.BigInteger, nullable=False),
        sa.Column("unopened", sa.JSON, nullable=False),
        sa.Column("trouble", sa.JSON, nullable=False),
        sa.Column("regions", sa.JSON, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("beat_at", sa.Double, nullable=False),
    )
