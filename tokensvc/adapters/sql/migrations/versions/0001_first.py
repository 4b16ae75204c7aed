"""The first schema, and the deployment itself: its id, its salt, its ceiling of an hour."""

from __future__ import annotations

import secrets
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make every table, then the rows that are there from the start."""
    versions = op.create_table(
        "versions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("n", sa.BigInteger, nullable=False),
    )
    deployment = op.create_table(
        "deployment",
        sa.Column("singleton", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("control_plane", sa.Text),
        sa.Column("account", sa.Text),
        sa.Column("max_ttl_seconds", sa.Integer, nullable=False),
        sa.Column("passphrase_salt", sa.LargeBinary, nullable=False),
        sa.Column("passphrase_check", sa.LargeBinary),
        sa.CheckConstraint("singleton = 1", name="one_row"),
    )
    op.create_table(
        "subject_keys",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
    )
    _make_keys()
    _make_callers()
    op.create_table(
        "channels",
        sa.Column("arn", sa.Text, primary_key=True),
        sa.Column("playback_url", sa.Text),
        sa.Column("authorized", sa.Boolean, nullable=False),
        sa.Column("checked_at", _INSTANT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_channels_checked_at", "channels", ["checked_at"])
    op.create_index("ix_channels_version", "channels", ["version"])
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.bulk_insert(versions, [{"name": name, "n": 0} for name in ("deployment", "keys", "callers", "channels")])
    row = {"singleton": 1, "id": str(uuid.uuid4()), "max_ttl_seconds": 3600, "passphrase_salt": secrets.token_bytes(32)}
    op.bulk_insert(deployment, [row])


def _make_keys() -> None:
    op.create_table(
        "key_pairs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("public_der", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_at", _INSTANT, nullable=False),
    )
    op.create_table(
        "key_places",
        sa.Column("key_id", sa.Text, sa.ForeignKey("key_pairs.id"), primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("arn", sa.Text, nullable=False, unique=True),
        sa.Column("imported_at", _INSTANT, nullable=False),
        sa.Column("activated_at", _INSTANT),
        sa.Column("retiring_at", _INSTANT),
        sa.Column("retired_at", _INSTANT),
        sa.Column("longest_ttl_seconds", sa.Integer, nullable=False),
    )
    op.create_index(
        "one_active_key_per_place",
        "key_places",
        ["account", "region"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )


def _make_callers() -> None:
    op.create_table(
        "callers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("disabled_at", _INSTANT),
        sa.Column("created_at", _INSTANT, nullable=False),
    )
    op.create_table(
        "caller_secrets",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("caller", sa.Text, sa.ForeignKey("callers.name"), nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT),
        sa.UniqueConstraint("caller", "ordinal"),
    )
