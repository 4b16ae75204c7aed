"""The schema of revocations and denials; the invariants of `schema.py` hold here too.

Invariants
- Times that are compared with the store's clock are Doubles in Unix seconds, like that clock.
- `QUEUED` is literal SQL, not a parameter: otherwise the databases do not use the partial index of due entries.
- An entry is queued exactly if it is not finished. The unique index on a viewer's entry uses UNFINISHED: with QUEUED,
  PostgreSQL would look up a viewer by scanning the index of due entries, since it estimates that index to be small.
"""

from __future__ import annotations

import sqlalchemy as sa

from tokensvc.storage.schema import metadata

denials = sa.Table(
    "denials",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    # The public id of the denial. It is random: a digest of channel and viewer id could be found by guessing.
    sa.Column("id", sa.Text),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("denied_until", sa.BigInteger, nullable=False),
    sa.Column("minimum_version", sa.BigInteger, nullable=False),
    sa.Column("minimum_ahead_seconds", sa.BigInteger, nullable=False),
    # The second from which no worker needs the row, however stale it is. Never lowered, not even by a removal.
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Index("denials_by_number", "number", "id"),
    sa.Index("unique_denial_id", "id", unique=True),
)

revocation_entries = sa.Table(
    "revocation_entries",
    metadata,
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
QUEUED = revocation_entries.c.state == sa.literal_column("'queued'")
FINISHED = revocation_entries.c.finished_at.is_not(None)
UNFINISHED = revocation_entries.c.finished_at.is_(None)

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("accepted_at", sa.Double, nullable=False),
    sa.Column("readmit_after", sa.BigInteger, nullable=False),
)

revocation_targets = sa.Table(
    "revocation_targets",
    metadata,
    sa.Column("revocation", sa.ForeignKey(revocations.c.number), primary_key=True),
    sa.Column("entry", sa.ForeignKey(revocation_entries.c.id), primary_key=True, index=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("caller", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body_digest", sa.LargeBinary, nullable=False),
    sa.Column("response", sa.JSON, nullable=False),
    sa.Column("used_at", sa.Double, nullable=False, index=True),
)
