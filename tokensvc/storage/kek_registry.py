"""`KekRegistry`: one row for each key-encryption key."""

from __future__ import annotations

import builtins

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.storage import changes
from tokensvc.storage.audit import record_events
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.schema import wrapping_keys
from tokensvc.vault.store import RegisteredKek


class SqlKekRegistry:
    """See `tokensvc.vault.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def list(self) -> list[RegisteredKek]:
        with read_transaction(self._engine) as connection:
            return _read(connection)

    def add(self, key: RegisteredKek, if_registered: str | None) -> builtins.list[RegisteredKek]:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            registered = {kek.name for kek in _read(connection)}
            if not registered if if_registered is None else if_registered in registered:
                row = insert(connection, wrapping_keys).values(name=key.name, check_value=key.check_value)
                connection.execute(row.on_conflict_do_nothing())
            return _read(connection)

    def retain_only(self, name: str, *, event: AuditEvent) -> None:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            registered = {kek.name for kek in _read(connection)}
            if name in registered and registered != {name}:
                connection.execute(sa.delete(wrapping_keys).where(wrapping_keys.c.name != name))
                details = {"removed": " ".join(sorted(registered - {name}))}
                record_events(connection, [event._replace(details=details)])


def _read(connection: sa.Connection) -> list[RegisteredKek]:
    rows = connection.execute(sa.select(wrapping_keys).order_by(wrapping_keys.c.name)).all()
    return [RegisteredKek(*row) for row in rows]
