"""What the local IVS keeps, on a SQLite of its own: a file, or memory.

Rules of the file
- One table. A resource's members are one JSON text; what is searched by stands beside it, with an index each.
- Its tables are made when it is opened. It is never the service's own store, and no migration knows it.
- A number in the order of creation is never given twice (AUTOINCREMENT), so that a list's next page stays where it was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tokensvc.adapters.sql.engine import make_engine, reading, writing
from tokensvc.core.arn import Place
from tokensvc.ports.resources import Resource

_METADATA = sa.MetaData()
_RESOURCES = sa.Table(
    "local_ivs_resources",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("arn", sa.Text, nullable=False, unique=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("parent_arn", sa.Text, nullable=False),
    sa.Column("unique_key", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("local_ivs_by_place", "account", "region", "kind", "number"),
    sa.Index("local_ivs_by_parent", "parent_arn", "kind", "number"),
    sa.Index(
        "local_ivs_unique",
        *("account", "region", "kind", "unique_key"),
        unique=True,
        sqlite_where=sa.text("unique_key != ''"),
    ),
    sqlite_autoincrement=True,
)
_C = _RESOURCES.c


class LocalIvsResources:
    """`ports.resources.Resources` on SQLite. `path` is a file, or `:memory:`."""

    def __init__(self, path: str) -> None:
        self._engine = make_engine("sqlite://" if path == ":memory:" else f"sqlite:///{path}")
        with writing(self._engine) as connection:
            _METADATA.create_all(connection)

    @contextlib.contextmanager
    def begin(self, *, write: bool) -> Iterator[_Transaction]:
        """One transaction: committed when the block ends well, undone when it raises."""
        with (writing if write else reading)(self._engine) as connection:
            yield _Transaction(connection)

    def close(self) -> None:
        """Let go of the file; what is only in memory is gone."""
        self._engine.dispose()


class _Transaction:
    """`ports.resources.ResourceTransaction` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, arn: str) -> Resource | None:
        row = self._connection.execute(_GET, {"arn": arn}).one_or_none()
        return _resource(row) if row else None

    def find(
        self, place: Place, kind: str, *, parent_arn: str | None = None, unique: str | None = None
    ) -> list[Resource]:
        query = _fitting(place, kind, parent_arn)
        if unique is not None:
            # The partial index serves only a query that repeats its condition.
            query = query.where(_C.unique_key == unique, _C.unique_key != sa.literal_column("''"))
        return [_resource(row) for row in self._connection.execute(query.order_by(_C.number))]

    def page(
        self,
        place: Place,
        kind: str,
        *,
        after: int,
        limit: int,
        parent_arn: str | None = None,
        equal: Mapping[str, str] | None = None,
    ) -> list[tuple[int, Resource]]:
        query = _fitting(place, kind, parent_arn).where(_C.number > after)
        for member, value in (equal or {}).items():
            query = query.where(sa.func.json_extract(_C.body, f'$."{member}"') == value)
        rows = self._connection.execute(query.order_by(_C.number).limit(limit))
        return [(row.number, _resource(row)) for row in rows]

    def count(self, place: Place, kind: str, *, parent_arn: str | None = None) -> int:
        query = _fitting(place, kind, parent_arn).with_only_columns(sa.func.count())
        return int(self._connection.execute(query).scalar_one())

    def put(self, resource: Resource) -> None:
        row = {
            "arn": resource.arn,
            "account": resource.place.account,
            "region": resource.place.region,
            "kind": resource.kind,
            "parent_arn": resource.parent_arn,
            "unique_key": resource.unique,
            "body": json.dumps(dict(resource.body), ensure_ascii=False),
            "created_at": resource.created_at,
        }
        self._connection.execute(_PUT, row)

    def delete(self, arn: str) -> None:
        self._connection.execute(_DELETE, {"arn": arn})


_GET = sa.select(_RESOURCES).where(_C.arn == sa.bindparam("arn"))
_DELETE = sa.delete(_RESOURCES).where(_C.arn == sa.bindparam("arn"))
_INSERT = insert(_RESOURCES)
_PUT = _INSERT.on_conflict_do_update(
    index_elements=[_C.arn],
    set_={name: _INSERT.excluded[name] for name in ("unique_key", "body", "parent_arn")},
)


def _fitting(place: Place, kind: str, parent_arn: str | None) -> sa.Select[Any]:
    query = sa.select(_RESOURCES).where(_C.kind == kind)
    if parent_arn:  # it implies the place; naming that too would lead SQLite to the longer index
        return query.where(_C.parent_arn == parent_arn)
    return query.where(_C.account == place.account, _C.region == place.region)


def _resource(row: sa.Row[Any]) -> Resource:
    return Resource(
        row.arn,
        Place(row.account, row.region),
        row.kind,
        row.parent_arn,
        row.unique_key,
        json.loads(row.body),
        row.created_at,
    )
