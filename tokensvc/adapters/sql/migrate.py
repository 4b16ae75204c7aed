"""The schema's history: bringing a store up to it, and telling whether it is.

Rules of the file
- Only `upgrade` loads alembic, and only `tokensvc db upgrade` calls it. `check` compares one row with REVISIONS.
- An upgrade is one transaction under a lock: it happens wholly or not at all, and the second of two that start at once
  finds the work done.
"""

from __future__ import annotations

import io

import sqlalchemy as sa

from tokensvc.adapters.sql.engine import make_engine, reading, writing
from tokensvc.adapters.sql.failures import UPGRADE, target_of
from tokensvc.errors import Action, Remedy, StoreUnfit

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Every revision, oldest first (a test holds it equal to the folder `migrations`)."""
HEAD = REVISIONS[-1]
UPGRADE_TIMEOUT_SECONDS = 600.0
_LOCK = 0x746F6B656E737663
"""PostgreSQL's advisory locks are numbers; this one spells `tokensvc`."""
_revision = sa.table("alembic_version", sa.column("version_num", sa.Text))


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring a store to this version's schema, making it where there is none; the revisions before and after.

    Raises StoreUnfit when a newer version made the store, StoreUnavailable when the store cannot be used.
    """
    from alembic import command
    from alembic.config import Config

    engine = make_engine(url, timeout_seconds=UPGRADE_TIMEOUT_SECONDS)
    try:
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            old = _refuse_newer(_current(connection))
            if old != HEAD:
                config = Config(stdout=io.StringIO(), output_buffer=io.StringIO())
                config.set_main_option("script_location", "tokensvc.adapters.sql:migrations")
                config.attributes["connection"] = connection
                command.upgrade(config, HEAD)
    finally:
        engine.dispose()
    return old, HEAD


def current(url: str) -> str | None:
    """The revision that a store is at, None for an empty one. Raises StoreUnfit when there is no such file."""
    engine = make_engine(url, create=False)
    try:
        with reading(engine) as connection:
            return _current(connection)
    finally:
        engine.dispose()


def check(engine: sa.Engine) -> None:
    """Raise StoreUnfit, naming what to do, unless the store's schema is the one that this version reads and writes."""
    with reading(engine) as connection:
        found = _refuse_newer(_current(connection))
    if found != HEAD:
        state = "is empty" if found is None else f"has the schema {found} of an older version"
        raise StoreUnfit(f"the store {state}", detail=target_of(engine), remedy=UPGRADE)


def _current(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_revision.name):
        return None
    return connection.execute(sa.select(_revision.c.version_num)).scalar()


def _refuse_newer(found: str | None) -> str | None:
    if found is not None and found not in REVISIONS:
        raise StoreUnfit(
            f"the store has the schema {found}, which this version of tokensvc does not know: it is newer",
            remedy=Remedy(Action.UPGRADE_SERVICE),
        )
    return found
