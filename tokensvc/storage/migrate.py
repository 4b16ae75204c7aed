"""Upgrades a store to the schema of this version, and checks whether it has it.

Invariants
- Only `upgrade` loads alembic, and only if there is something to upgrade; `tokensvc db upgrade` calls it, and `demo`.
  `check` compares one row with REVISIONS.
- An upgrade is one transaction under a lock: it succeeds or fails as a whole, and of two concurrent upgrades the second
  has nothing to do.
- A store whose revision is not in REVISIONS is never opened and never changed. alembic does not decide this: it
  completes abbreviated revisions, and would take the pre-release "0001" for "0001_baseline".
"""

from __future__ import annotations

import io

import sqlalchemy as sa

from tokensvc.errors import Action, Remedy, SchemaMismatch
from tokensvc.storage.engine import make_engine, read_transaction, write_transaction
from tokensvc.storage.errors import UPGRADE, target_of

MIGRATIONS = "tokensvc.storage:migrations"
"""Where alembic finds the revisions: package and folder."""
REVISIONS = ("0001_baseline", "0002_policies_and_audit", "0003_single_uses")
"""Every revision, oldest first (a test compares it with the folder `migrations`)."""
HEAD = REVISIONS[-1]
_PRERELEASE_REVISIONS = frozenset({"0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0001_initial"})
"""Revisions of pre-release stores. They no longer exist, and no migration starts from them."""
UPGRADE_TIMEOUT_SECONDS = 600.0
_LOCK = 0x746F6B656E737663
"""The key of PostgreSQL's advisory lock: `tokensvc` in ASCII."""
_revision = sa.table("alembic_version", sa.column("version_num", sa.Text))


def upgrade(url: str) -> tuple[str | None, str]:
    """Upgrade a store to this version's schema, or create it; return the revisions before and after.

    Raises SchemaMismatch if the store's revision is not one of REVISIONS, StoreUnavailable if the store cannot be used.
    """
    engine = make_engine(url, timeout_seconds=UPGRADE_TIMEOUT_SECONDS)
    try:
        with write_transaction(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            old = _require_known(_current(connection), engine)
            if old != HEAD:
                from alembic import command
                from alembic.config import Config

                config = Config(stdout=io.StringIO(), output_buffer=io.StringIO())
                config.set_main_option("script_location", MIGRATIONS)
                config.attributes["connection"] = connection
                command.upgrade(config, HEAD)
    finally:
        engine.dispose()
    return old, HEAD


def current(url: str) -> str | None:
    """The revision of a store, None for an empty one. Raises StoreNotFound if the file does not exist."""
    engine = make_engine(url, create=False)
    try:
        with read_transaction(engine) as connection:
            return _current(connection)
    finally:
        engine.dispose()


def check(engine: sa.Engine) -> None:
    """Raise SchemaMismatch, with a remedy, unless the store has the schema of this version."""
    with read_transaction(engine) as connection:
        found = _require_known(_current(connection), engine)
    if found != HEAD:
        state = "is empty" if found is None else f"has the schema {found} of an older version"
        raise SchemaMismatch(f"the store {state}", detail=target_of(engine), remedy=UPGRADE)


def _current(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_revision.name):
        return None
    return connection.execute(sa.select(_revision.c.version_num)).scalar()


def _require_known(found: str | None, engine: sa.Engine) -> str | None:
    if found in _PRERELEASE_REVISIONS:
        raise SchemaMismatch(
            f"the store has the schema {found} of a development version of tokensvc, which cannot be upgraded",
            detail=target_of(engine),
            remedy=Remedy(Action.CREATE_NEW_STORE),
        )
    if found is not None and found not in REVISIONS:
        raise SchemaMismatch(
            f"the store has the schema {found} of a newer version of tokensvc",
            remedy=Remedy(Action.UPGRADE_SERVICE),
        )
    return found
