"""`Leases`: each acquisition is one statement, and only the store's clock decides."""

from __future__ import annotations

import sqlalchemy as sa

from tokensvc.deployment.leases import HeldLease
from tokensvc.storage.dialect import StoreNow, insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.schema import leases


class SqlLeases:
    """See `tokensvc.deployment.leases`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def acquire(self, name: str, holder: str, seconds: float) -> bool:
        expires_at = StoreNow() + sa.literal(seconds, sa.Double)
        with write_transaction(self._engine) as connection:
            acquire = (
                insert(connection, leases)
                .values(name=name, holder=holder, expires_at=expires_at)
                .on_conflict_do_update(
                    index_elements=[leases.c.name],
                    set_={"holder": holder, "expires_at": expires_at},
                    where=sa.or_(leases.c.expires_at <= StoreNow(), leases.c.holder == holder),
                )
                .returning(leases.c.holder)
            )
            return connection.execute(acquire).first() is not None

    def release(self, name: str, holder: str) -> None:
        with write_transaction(self._engine) as connection:
            connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def held(self, name: str) -> HeldLease | None:
        left = (leases.c.expires_at - StoreNow()).label("left")
        with read_transaction(self._engine) as connection:
            row = connection.execute(sa.select(leases.c.holder, left).where(leases.c.name == name)).first()
        return HeldLease(row.holder, row.left) if row is not None and row.left > 0 else None

    def all_held(self, prefix: str) -> dict[str, HeldLease]:
        c, left = leases.c, (leases.c.expires_at - StoreNow()).label("left")
        query = sa.select(c.name, c.holder, left).where(c.name.startswith(prefix, autoescape=True))
        with read_transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return {row.name: HeldLease(row.holder, row.left) for row in rows if row.left > 0}
