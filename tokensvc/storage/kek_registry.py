"""`KnownWrappings`: a row for each wrapping key that secrets of the store may be under."""

from __future__ import annotations

import builtins

import sqlalchemy as sa

from tokensvc.storage import changes
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.schema import wrapping_keys
from tokensvc.vault.kek_registry import RegisteredKek


class SqlKekRegistry:
    """See `tokensvc.vault.kek_registry`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def list(self) -> list[RegisteredKek]:
        with read_transaction(self._engine) as connection:
            return _read(connection)

    def add(self, key: RegisteredKek, beside: str | None) -> builtins.list[RegisteredKek]:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            listed = _read(connection)
            if not listed if beside is None else any(k.name == beside for k in listed):
                row = insert(connection, wrapping_keys).values(name=key.name, check_value=key.check_value)
                connection.execute(row.on_conflict_do_nothing())
            return _read(connection)

    def retain_only(self, name: str) -> None:
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "deployment")
            if any(k.name == name for k in _read(connection)):
                connection.execute(sa.delete(wrapping_keys).where(wrapping_keys.c.name != name))


def _read(connection: sa.Connection) -> list[RegisteredKek]:
    rows = connection.execute(sa.select(wrapping_keys).order_by(wrapping_keys.c.name)).all()
    return [RegisteredKek(*row) for row in rows]
