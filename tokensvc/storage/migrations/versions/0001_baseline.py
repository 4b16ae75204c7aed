"""The initial schema, with the rows that every new store contains: the deployment and its versions.

Invariants
- It creates the tables of `schema.py` and `revocation_tables.py`, with the same order of columns, on SQLite and
  PostgreSQL (a test compares the two).
- It is written out instead of derived from those modules, so it stays the same when a later revision changes them.
- No column has a default in the database: every INSERT names its values.
"""

from __future__ import annotations

import secrets
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001_baseline"
"""Not "0001": that was the first of eight pre-release revisions, which are not supported."""
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_VERSIONS_WITH_HISTORY = ("deployment", "keys", "callers", "channels", "denials")
_VERSIONS = (*_VERSIONS_WITH_HISTORY, "revocations")


def upgrade() -> None:
    """Create all tables and the initial rows."""
    _create_versions()
    _create_deployment()
    _create_wrapped_secrets()
    _create_keys()
    _create_key_journal_and_requests()
    _create_workers()
    _create_callers()
    _create_channels()
    _create_denials()
    _create_revocation_queue()
    _create_revocations()


def _create_versions() -> None:
    versions = op.create_table(
        "versions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
    )
    history = op.create_table(
        "version_history",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
    )
    rows = [{"name": name, "number": 0, "tag": secrets.token_hex(8)} for name in _VERSIONS]
    op.bulk_insert(versions, rows)
    op.bulk_insert(history, [{**row, "slot": 0} for row in rows if row["name"] in _VERSIONS_WITH_HISTORY])


def _create_deployment() -> None:
    deployment = op.create_table(
        "deployment",
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
        sa.Column("subject_keys_created", sa.Integer, nullable=False),
    )
    row = {
        "singleton": 1,
        "id": str(uuid.uuid4()),
        "max_ttl_seconds": 3600,
        "passphrase_salt": secrets.token_bytes(32),
        "key_propagation_seconds": 30.0,
        "key_standby": True,
        "subject_keys_created": 0,
    }
    op.bulk_insert(deployment, [row])


def _create_wrapped_secrets() -> None:
    op.create_table(
        "subject_keys",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
    )
    op.create_table(
        "wrapping_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("check_value", sa.LargeBinary),
    )
    op.create_table(
        "private_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("wrapped", sa.Text, nullable=False),
    )


def _create_keys() -> None:
    op.create_table(
        "key_pairs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("public_der", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("compromised_at", _INSTANT),
        sa.Column("longest_ttl_seconds", sa.Integer, nullable=False),
    )
    op.create_table(
        "key_placements",
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
        sa.Column("compromised_at", _INSTANT),
        sa.Column("deleting_at", _INSTANT),
        sa.Column("fingerprint_differs", sa.Boolean, nullable=False),
    )
    _create_partial_index(
        "one_active_key_per_account_region", "key_placements", ["account", "region"], "state = 'active'", unique=True
    )


def _create_key_journal_and_requests() -> None:
    op.create_table(
        "key_journal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False, index=True),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT, index=True),
        sa.Column("outcome", sa.Text),
    )
    step = ["kind", "key_id", "region"]
    _create_partial_index("one_open_step_per_kind", "key_journal", step, "finished_at IS NULL", unique=True)
    op.create_table(
        "key_rotation_requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("requested_at", _INSTANT, nullable=False, index=True),
        sa.Column("previous_key_ids", sa.JSON, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
    )


def _create_workers() -> None:
    op.create_table(
        "workers",
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
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def _create_callers() -> None:
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
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body_digest", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.JSON, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False, index=True),
    )


def _create_channels() -> None:
    op.create_table(
        "channels",
        sa.Column("arn", sa.Text, primary_key=True),
        sa.Column("playback_url", sa.Text),
        sa.Column("authorized", sa.Boolean, nullable=False),
        sa.Column("checked_at", _INSTANT, nullable=False, index=True),
        sa.Column("version", sa.BigInteger, nullable=False, index=True),
    )


def _create_denials() -> None:
    op.create_table(
        "denials",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("id", sa.Text),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("denied_until", sa.BigInteger, nullable=False),
        sa.Column("minimum_version", sa.BigInteger, nullable=False),
        sa.Column("minimum_ahead_seconds", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_index("denials_by_number", "denials", ["number", "id"])
    op.create_index("unique_denial_id", "denials", ["id"], unique=True)


def _create_revocation_queue() -> None:
    table = "revocation_entries"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("channel_arn", sa.Text, nullable=False),
        sa.Column("viewer_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("queued_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.CheckConstraint("(state = 'queued') = (finished_at IS NULL)", name="queued_until_finished"),
    )
    due = ["account", "region", "priority", "id", "due_at"]
    _create_partial_index("revocation_entries_due", table, due, "state = 'queued'")
    _create_partial_index("one_queued_entry_per_viewer", table, ["digest"], "finished_at IS NULL", unique=True)
    _create_partial_index("revocation_entries_finished", table, ["finished_at"], "finished_at IS NOT NULL")


def _create_revocations() -> None:
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
        sa.Column("entry", sa.BigInteger, sa.ForeignKey("revocation_entries.id"), primary_key=True, index=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
    )


def _create_partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
