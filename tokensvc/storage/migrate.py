"""The schema's history: bringing a store up to it, and telling whether it is.

Invariants
- Only `upgrade` loads alembic, and only `tokensvc db upgrade` calls it. `check` compares one row with REVISIONS.
- An upgrade is one transaction under a lock: it happens wholly or not at all, and the second of two that start at once
  finds the work done.
- A store whose revision is not in REVISIONS is never opened and never changed. alembic is not asked about it: it
  completes abbreviated revisions, and would take "0001" for the first one of today.
"""

from __future__ import annotations

import io

import sqlalchemy as sa

from tokensvc.errors import Action, Remedy, SchemaMismatch
from tokensvc.storage.engine import make_engine, read_transaction, write_transaction
from tokensvc.storage.errors import UPGRADE, target_of

MIGRATIONS = "tokensvc.storage:migrations"
"""Where alembic finds the revisions: a package and a folder in it."""
REVISIONS = ("0001_initial",)
"""Every revision, oldest first (a test holds it equal to the folder `migrations`)."""
HEAD = REVISIONS[-1]
_PRERELEASE_REVISIONS = frozenset({"0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008"})
"""What stores of the time before the first release are at. These revisions are gone: no migration starts from them."""
UPGRADE_TIMEOUT_SECONDS = 600.0
_LOCK = 0x746F6B656E737663
"""PostgreSQL's advisory locks are numbers; this one spells `tokensvc`."""
_revision = sa.table("alembic_version", sa.column("version_num", sa.Text))


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring a store to this version's schema, making it where there is none; the revisions before and after.

    Raises SchemaMismatch when the store's revision is not one of REVISIONS, StoreUnavailable when the store cannot be
    used.
    """
    from alembic import command
    from alembic.config import Config

    engine = make_engine(url, timeout_seconds=UPGRADE_TIMEOUT_SECONDS)
    try:
        with write_transaction(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            old = _require_known(_current(connection), engine)
            if old != HEAD:
                config = Config(stdout=io.StringIO(), output_buffer=io.StringIO())
                config.set_main_option("script_location", MIGRATIONS)
                config.attributes["connection"] = connection
                command.upgrade(config, HEAD)
    finally:
        engine.dispose()
    return old, HEAD


def current(url: str) -> str | None:
    """The revision that a store is at, None for an empty one. Raises SchemaMismatch when there is no such file."""
    engine = make_engine(url, create=False)
    try:
        with read_transaction(engine) as connection:
            return _current(connection)
    finally:
        engine.dispose()


def check(engine: sa.Engine) -> None:
    """Raise SchemaMismatch, naming what to do, unless the store's schema is the one this version reads and writes."""
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
            f"the store has the schema {found} of a development version of tokensvc, and cannot be upgraded",
            detail=target_of(engine),
            remedy=Remedy(Action.CREATE_NEW_STORE),
        )
    if found is not None and found not in REVISIONS:
        raise SchemaMismatch(
            f"the store has the schema {found}, which this version of tokensvc does not know: it is newer",
            remedy=Remedy(Action.UPGRADE_SERVICE),
        )
    return found
