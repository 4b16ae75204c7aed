"""The partial indexes of the tables, as `migrations` creates them.

Invariants
- Only upgrades import this module: an index with `postgresql_where` makes SQLAlchemy load PostgreSQL's dialect and its
  drivers, and no query needs the index as an object. A test compares it with the database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tokensvc.keys.lifecycle import KeyState
from tokensvc.storage.revocation_tables import FINISHED, QUEUED, UNFINISHED, revocation_entries
from tokensvc.storage.schema import key_journal, key_placements, metadata


def _index(name: str, *columns: sa.Column[Any], where: sa.ColumnElement[bool], unique: bool = False) -> None:
    sa.Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_index(
    "one_active_key_per_account_region",
    key_placements.c.account,
    key_placements.c.region,
    where=key_placements.c.state == KeyState.ACTIVE.value,
    unique=True,
)
_index(
    "one_open_step_per_kind",
    key_journal.c.kind,
    key_journal.c.key_id,
    key_journal.c.region,
    where=key_journal.c.finished_at.is_(None),
    unique=True,
)
_index(
    "revocation_entries_due",
    *(revocation_entries.c[name] for name in ("account", "region", "priority", "id", "due_at")),
    where=QUEUED,
)
_index("one_queued_entry_per_viewer", revocation_entries.c.digest, where=UNFINISHED, unique=True)
_index("revocation_entries_finished", revocation_entries.c.finished_at, where=FINISHED)
complete_metadata = metadata
"""All tables with all indexes."""
