"""`KeyStore`: key pairs and what each is in each place.

Rules of the file
- Every change holds `keys` first, so changes to keys happen one after the other; each move is still one
  UPDATE … WHERE <the state it was decided on>.
- A move that `core/lifecycle.MOVES` does not have is a LostRace: somebody else moved the key first.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.adapters.sql import changes
from tokensvc.adapters.sql.dialect import insert
from tokensvc.adapters.sql.engine import reading, writing
from tokensvc.adapters.sql.tables import deployment, key_pairs, key_places
from tokensvc.core.arn import Place
from tokensvc.core.lifecycle import MOVES, KeyState
from tokensvc.errors import Conflict, KeyNotFound, LostRace
from tokensvc.ports.keys import KeyInPlace, KeyRecord


class SqlKeys:
    """See `tokensvc.ports.keys`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, key_id: str, fingerprint: str, public_der: bytes, created_at: datetime) -> KeyRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "keys")
            added = (
                insert(connection, key_pairs)
                .values(id=key_id, fingerprint=fingerprint, public_der=public_der, created_at=created_at)
                .on_conflict_do_nothing()
                .returning(key_pairs.c.id)
            )
            if connection.execute(added).first() is None:
                raise Conflict("the store knows a key with this id or this public half already")
            changes.advance(connection, "keys")
            return _get(connection, key_id)

    def list(self) -> list[KeyRecord]:
        with reading(self._engine) as connection:
            return _records(connection)

    def get(self, key_id: str) -> KeyRecord:
        with reading(self._engine) as connection:
            return _get(connection, key_id)

    def record_import(self, key_id: str, place: Place, arn: str, at: datetime) -> KeyRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "keys")
            _get(connection, key_id)
            prepared = (
                insert(connection, key_places)
                .values(key_id=key_id, **place._asdict(), arn=arn, imported_at=at)
                .values(state=KeyState.PREPARED, longest_ttl_seconds=0)
                .on_conflict_do_nothing()
                .returning(key_places.c.key_id)
            )
            if connection.execute(prepared).first():
                changes.advance(connection, "keys")
            elif getattr(_in_place(connection, key_id, place), "arn", None) != arn:
                raise LostRace(f"another import of this key, or of this ARN, is recorded in {place.region}")
            return _get(connection, key_id)

    def activate(self, key_id: str, place: Place, at: datetime, longest_ttl_seconds: int) -> KeyRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "keys")
            now_in = _demand(connection, key_id, place)
            ceiling = connection.execute(sa.select(deployment.c.max_ttl_seconds)).scalar_one()
            longest = max(now_in.longest_ttl_seconds, longest_ttl_seconds, ceiling)
            if now_in.state is not KeyState.ACTIVE:
                former = _active_in(connection, place)
                if former is not None:
                    _move(connection, former, place, KeyState.ACTIVE, KeyState.RETIRING, retiring_at=at)
                _move(connection, key_id, place, now_in.state, KeyState.ACTIVE, activated_at=at)
            elif longest == now_in.longest_ttl_seconds:
                return _get(connection, key_id)
            connection.execute(sa.update(key_places).where(*_at(key_id, place)).values(longest_ttl_seconds=longest))
            changes.advance(connection, "keys")
            return _get(connection, key_id)

    def retire(self, key_id: str, place: Place, at: datetime) -> KeyRecord:
        with writing(self._engine) as connection:
            changes.hold(connection, "keys")
            now_in = _demand(connection, key_id, place)
            if now_in.state is not KeyState.RETIRED:
                _move(connection, key_id, place, now_in.state, KeyState.RETIRED, retired_at=at)
                changes.advance(connection, "keys")
            return _get(connection, key_id)

    def discard(self, key_id: str) -> None:
        with writing(self._engine) as connection:
            changes.hold(connection, "keys")
            if connection.execute(sa.select(key_places.c.key_id).where(key_places.c.key_id == key_id)).first():
                raise LostRace("IVS holds, or held, this key: its record stays")
            gone = sa.delete(key_pairs).where(key_pairs.c.id == key_id).returning(key_pairs.c.id)
            if connection.execute(gone).first():
                changes.advance(connection, "keys")


def _move(connection: sa.Connection, key_id: str, place: Place, was: KeyState, to: KeyState, **values: Any) -> None:
    moved = sa.update(key_places).where(*_at(key_id, place), key_places.c.state == was).values(state=to, **values)
    if to not in MOVES[was] or connection.execute(moved.returning(key_places.c.key_id)).first() is None:
        raise LostRace(f"the key is {was} in {place.region}, so it cannot become {to} there")


def _at(key_id: str, place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    return key_places.c.key_id == key_id, *_of(place)


def _of(place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    return key_places.c.account == place.account, key_places.c.region == place.region


def _active_in(connection: sa.Connection, place: Place) -> str | None:
    active = sa.select(key_places.c.key_id).where(*_of(place), key_places.c.state == KeyState.ACTIVE)
    return connection.execute(active).scalar()


def _in_place(connection: sa.Connection, key_id: str, place: Place) -> KeyInPlace | None:
    row = connection.execute(sa.select(key_places).where(*_at(key_id, place))).first()
    return None if row is None else _key_in_place(row)


def _demand(connection: sa.Connection, key_id: str, place: Place) -> KeyInPlace:
    found = _in_place(connection, key_id, place)
    if found is None:
        _get(connection, key_id)
        raise LostRace(f"the key is not known to be in {place.region}")
    return found


def _get(connection: sa.Connection, key_id: str) -> KeyRecord:
    found = _records(connection, key_id)
    if not found:
        raise KeyNotFound(f"there is no key {key_id}")
    return found[0]


def _records(connection: sa.Connection, key_id: str | None = None) -> list[KeyRecord]:
    """All records, or the one of that id: two queries however many there are."""
    pairs = sa.select(key_pairs).order_by(key_pairs.c.created_at, key_pairs.c.id)
    inside = sa.select(key_places).order_by(key_places.c.account, key_places.c.region)
    if key_id is not None:
        pairs, inside = pairs.where(key_pairs.c.id == key_id), inside.where(key_places.c.key_id == key_id)
    places: dict[str, list[KeyInPlace]] = {}
    rows = connection.execute(pairs).all()
    for row in connection.execute(inside):
        places.setdefault(row.key_id, []).append(_key_in_place(row))
    return [
        KeyRecord(row.id, row.fingerprint, row.public_der, row.created_at, tuple(places.get(row.id, ())))
        for row in rows
    ]


def _key_in_place(row: sa.Row[Any]) -> KeyInPlace:
    return KeyInPlace(
        place=Place(account=row.account, region=row.region),
        state=KeyState(row.state),
        arn=row.arn,
        imported_at=row.imported_at,
        activated_at=row.activated_at,
        retiring_at=row.retiring_at,
        retired_at=row.retired_at,
        longest_ttl_seconds=row.longest_ttl_seconds,
    )
