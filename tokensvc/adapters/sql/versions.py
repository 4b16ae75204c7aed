"""`Versions`: the question that each worker asks about once a second, one query."""

from __future__ import annotations

import sqlalchemy as sa

from tokensvc.adapters.sql.dialect import StoreNow
from tokensvc.adapters.sql.engine import reading
from tokensvc.adapters.sql.tables import versions
from tokensvc.errors import StoreUnfit
from tokensvc.ports.versions import StoreVersions

_THINGS = frozenset(StoreVersions._fields) - {"now"}


class SqlVersions:
    """See `tokensvc.ports.versions`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self) -> StoreVersions:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(versions.c.name, versions.c.n, StoreNow().label("now"))).all()
        numbers = {row.name: row.n for row in rows if row.name in _THINGS}
        if numbers.keys() != _THINGS:
            raise StoreUnfit("the store does not count all changes; run `tokensvc db upgrade`")
        return StoreVersions(now=rows[0].now, **numbers)
