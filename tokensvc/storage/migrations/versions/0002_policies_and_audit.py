"""Viewer apps' issuers, the last use of API keys, and audit records."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002_policies_and_audit"
down_revision = "0001_baseline"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_DIGEST_KEY_BYTES = 32


def upgrade() -> None:
    """Add the columns and tables, the key of viewers' digests, and the version that numbers audit records."""
    op.add_column("callers", sa.Column("issuer", sa.Text))
    op.add_column("callers", sa.Column("audience", sa.Text))
    op.create_index("one_caller_per_issuer_and_audience", "callers", ["issuer", "audience"], unique=True)
    op.add_column("caller_secrets", sa.Column("last_used_at", _INSTANT))
    op.add_column("caller_secrets", sa.Column("last_used_from", sa.Text))
    key = op.create_table(
        "audit_key",
        sa.Column(
            "singleton",
            sa.Integer,
            sa.CheckConstraint("singleton = 1", name="one_row"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(key, [{"singleton": 1, "value": secrets.token_bytes(_DIGEST_KEY_BYTES)}])
    op.create_table(
        "audit_records",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", _INSTANT, nullable=False, index=True),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False, index=True),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False, index=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("viewer", sa.Text, nullable=False, index=True),
        sa.Column("occurrences", sa.Integer, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
    )
    versions = sa.table("versions", sa.column("name"), sa.column("number"), sa.column("tag"))
    op.bulk_insert(versions, [{"name": "audit", "number": 0, "tag": secrets.token_hex(8)}])
