"""`Versions`: the question that each worker asks about once a second, one query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import sqlalchemy as sa

from tokensvc.adapters.sql import changes
from tokensvc.adapters.sql.dialect import StoreNow
from tokensvc.adapters.sql.engine import reading
from tokensvc.adapters.sql.failures import UPGRADE
from tokensvc.adapters.sql.tables import versions
from tokensvc.errors import SchemaMismatch
from tokensvc.ports.versions import StoreVersions, Version, Versioned

_THINGS = frozenset(get_args(Versioned))


class SqlVersions:
    """See `tokensvc.ports.versions`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self) -> StoreVersions:
        columns = (versions.c.name, versions.c.n, versions.c.tag, StoreNow().label("now"))
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(*columns)).all()
        found = {row.name: Version(row.n, row.tag) for row in rows if row.name in _THINGS}
        if found.keys() != _THINGS:
            raise SchemaMismatch("the store does not count all changes", remedy=UPGRADE)
        return StoreVersions(now=rows[0].now, **found)

    def check_history(self, seen: Mapping[Versioned, Version]) -> None:
        with reading(self._engine) as connection:
            changes.check_history(connection, seen)
