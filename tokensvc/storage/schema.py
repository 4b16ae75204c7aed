"""The schema after the newest migration (a test compares the two).

Invariants
- Instants are `Utc`: aware in Python, stored in UTC with microseconds, so both databases order and compare them
  correctly.
- Text columns have no length: SQLite would ignore it, so text that is too long is refused before it gets here.
- Constraints that must hold whatever the code does are part of the schema: one active key in each account and region,
  one key for each public key.
- A change of the schema is a change of this file (or of `revocation_tables.py`) and a new migration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
metadata = sa.MetaData(naming_convention=NAMES)


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware instant. PostgreSQL stores it as timestamptz, SQLite as fixed-width text in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To UTC; naive on SQLite, whose text has no offset. Raises ValueError for a naive instant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a timestamp without an offset cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """To an aware instant in UTC."""
        if value is None:
            return None
        found: datetime = value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)
        return found


versions = sa.Table(
    "versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("tag", sa.Text, nullable=False),
)

version_history = sa.Table(
    "version_history",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("tag", sa.Text, nullable=False),
)

deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column(
        "singleton",
        sa.Integer,
        sa.CheckConstraint("singleton = 1", name="one_row"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("control_plane", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("max_ttl_seconds", sa.Integer, nullable=False),
    sa.Column("passphrase_salt", sa.LargeBinary, nullable=False),
    sa.Column("key_propagation_seconds", sa.Double, nullable=False),
    sa.Column("key_max_age_seconds", sa.Double),
    sa.Column("key_standby", sa.Boolean, nullable=False),
    # The number of subject key versions ever created: a missing one was lost and is never created again.
    sa.Column("subject_keys_created", sa.Integer, nullable=False),
)

subject_keys = sa.Table(
    "subject_keys",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

wrapping_keys = sa.Table(
    "wrapping_keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("check_value", sa.LargeBinary),
)

private_keys = sa.Table(
    "private_keys",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("wrapped", sa.Text, nullable=False),
)

key_pairs = sa.Table(
    "key_pairs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("public_der", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("compromised_at", Utc),
    sa.Column("longest_ttl_seconds", sa.Integer, nullable=False),
)

key_placements = sa.Table(
    "key_placements",
    metadata,
    sa.Column("key_id", sa.ForeignKey(key_pairs.c.id), primary_key=True),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("arn", sa.Text, nullable=False, unique=True),
    sa.Column("imported_at", Utc, nullable=False),
    sa.Column("activated_at", Utc),
    sa.Column("retiring_at", Utc),
    sa.Column("retired_at", Utc),
    sa.Column("longest_ttl_seconds", sa.Integer, nullable=False),
    sa.Column("compromised_at", Utc),
    sa.Column("deleting_at", Utc),
    sa.Column("fingerprint_differs", sa.Boolean, nullable=False),
)

key_journal = sa.Table(
    "key_journal",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False, index=True),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("finished_at", Utc, index=True),
    sa.Column("outcome", sa.Text),
)

key_rotation_requests = sa.Table(
    "key_rotation_requests",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("requested_at", Utc, nullable=False, index=True),
    sa.Column("previous_key_ids", sa.JSON, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("lease_seconds", sa.Double, nullable=False),
    sa.Column("keys_version", sa.BigInteger, nullable=False),
    sa.Column("keys_tag", sa.Text, nullable=False),
    sa.Column("deployment_version", sa.BigInteger, nullable=False),
    sa.Column("deployment_tag", sa.Text, nullable=False),
    sa.Column("store_timeout_seconds", sa.Double, nullable=False),
    sa.Column("undecryptable", sa.JSON, nullable=False),
    sa.Column("problems", sa.JSON, nullable=False),
    sa.Column("regions", sa.JSON, nullable=False),
    sa.Column("signer", sa.Text, nullable=False),
    sa.Column("fallback_reason", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("last_heartbeat_at", sa.Double, nullable=False),
)

callers = sa.Table(
    "callers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("disabled_at", Utc),
    sa.Column("created_at", Utc, nullable=False),
    # Of viewer apps, copied from the policy so that the database keeps them unique.
    sa.Column("issuer", sa.Text),
    sa.Column("audience", sa.Text),
)
sa.Index("one_caller_per_issuer_and_audience", callers.c.issuer, callers.c.audience, unique=True)

caller_secrets = sa.Table(
    "caller_secrets",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("caller", sa.ForeignKey(callers.c.name), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("expires_at", Utc),
    sa.Column("last_used_at", Utc),
    sa.Column("last_used_from", sa.Text),
    sa.UniqueConstraint("caller", "ordinal"),
)

audit_key = sa.Table(
    "audit_key",
    metadata,
    sa.Column(
        "singleton",
        sa.Integer,
        sa.CheckConstraint("singleton = 1", name="one_row"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

audit_records = sa.Table(
    "audit_records",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Utc, nullable=False, index=True),
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

channels = sa.Table(
    "channels",
    metadata,
    sa.Column("arn", sa.Text, primary_key=True),
    sa.Column("playback_url", sa.Text),
    sa.Column("authorized", sa.Boolean, nullable=False),
    sa.Column("checked_at", Utc, nullable=False, index=True),
    sa.Column("version", sa.BigInteger, nullable=False, index=True),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

single_uses = sa.Table(
    "single_uses",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("spent_at", Utc, nullable=False, index=True),
)
