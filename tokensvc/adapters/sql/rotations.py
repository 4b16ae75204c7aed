"""`Rotations`: one row a wish."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.adapters.sql import changes
from tokensvc.adapters.sql.engine import reading, writing
from tokensvc.adapters.sql.tables import key_rotations
from tokensvc.errors import RotationNotFound
from tokensvc.ports.rotations import Rotation


class SqlRotations:
    """See `tokensvc.ports.rotations`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def request(self, rotation_id: str, replaces: Mapping[str, str | None], at: datetime, by: str) -> Rotation:
        wish = Rotation(rotation_id, at, dict(replaces), by)
        with writing(self._engine) as connection:
            changes.hold(connection, "keys")
            connection.execute(sa.insert(key_rotations).values(wish._asdict()))
            changes.advance(connection, "keys")
        return wish

    def get(self, rotation_id: str) -> Rotation:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(key_rotations).where(key_rotations.c.id == rotation_id)).first()
        if row is None:
            raise RotationNotFound("there is no such rotation")
        return _rotation(row)

    def newest(self, limit: int) -> list[Rotation]:
        newest = sa.select(key_rotations).order_by(key_rotations.c.requested_at.desc(), key_rotations.c.id).limit(limit)
        with reading(self._engine) as connection:
            return [_rotation(row) for row in connection.execute(newest)]

    def prune(self, before: datetime) -> int:
        old = sa.delete(key_rotations).where(key_rotations.c.requested_at < before).returning(key_rotations.c.id)
        with writing(self._engine) as connection:
            return len(connection.execute(old).all())


def _rotation(row: sa.Row[Any]) -> Rotation:
    return Rotation(row.id, row.requested_at, row.replaces, row.requested_by)
