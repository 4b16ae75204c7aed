"""`SingleUseStore`: one row for each spent single use. Its primary key decides which of several attempts is first."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from tokensvc.storage.dialect import StoreNow, insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.schema import single_uses


class SqlSingleUseStore:
    """See `tokensvc.tokens.single_uses`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def spend(self, digest: bytes) -> bool:
        with write_transaction(self._engine) as connection:
            now = datetime.fromtimestamp(connection.execute(sa.select(StoreNow())).scalar_one(), UTC)
            spend = insert(connection, single_uses).values(digest=digest, spent_at=now).on_conflict_do_nothing()
            return connection.execute(spend.returning(single_uses.c.digest)).first() is not None

    def is_spent(self, digest: bytes) -> bool:
        query = sa.select(single_uses.c.digest).where(single_uses.c.digest == digest)
        with read_transaction(self._engine) as connection:
            return connection.execute(query).first() is not None

    def prune(self, spent_before: datetime, limit: int) -> int:
        old = single_uses.c.spent_at < spent_before
        batch = sa.select(single_uses.c.digest).where(old).limit(limit)
        with write_transaction(self._engine) as connection:
            return connection.execute(sa.delete(single_uses).where(single_uses.c.digest.in_(batch))).rowcount
