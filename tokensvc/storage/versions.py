"""`Versions`: one query, which each worker runs about once a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import sqlalchemy as sa

from tokensvc.deployment.versions import StoreVersions, Version, Versioned
from tokensvc.errors import SchemaMismatch
from tokensvc.storage import changes
from tokensvc.storage.dialect import StoreNow
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.errors import UPGRADE
from tokensvc.storage.schema import versions

_PARTS = frozenset(get_args(Versioned))


class SqlVersions:
    """See `tokensvc.deployment.versions`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self) -> StoreVersions:
        columns = (versions.c.name, versions.c.number, versions.c.tag, StoreNow().label("now"))
        with read_transaction(self._engine) as connection:
            rows = connection.execute(sa.select(*columns)).all()
        found = {row.name: Version(row.number, row.tag) for row in rows if row.name in _PARTS}
        if found.keys() != _PARTS:
            raise SchemaMismatch("the store lacks the versions of some parts", remedy=UPGRADE)
        return StoreVersions(now=rows[0].now, **found)

    def check_history(self, seen: Mapping[Versioned, Version]) -> None:
        with read_transaction(self._engine) as connection:
            changes.check_history(connection, seen)
