"""`RotationRequestStore`: one row for each rotation request."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tokensvc.audit.record import AuditEvent
from tokensvc.errors import RotationNotFound, RowUnreadable
from tokensvc.keys.store import RotationRequest
from tokensvc.storage import changes
from tokensvc.storage.audit import record_events
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.rows import UnreadableValue, document, instant, raw, text
from tokensvc.storage.schema import key_rotation_requests

_requests = sa.select(*raw(*key_rotation_requests.c))


class SqlRotationRequestStore:
    """See `tokensvc.keys.store`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def request(
        self, rotation_id: str, previous_key_ids: Mapping[str, str | None], at: datetime, by: str, *, event: AuditEvent
    ) -> RotationRequest:
        request = RotationRequest(rotation_id, at, dict(previous_key_ids), by)
        with write_transaction(self._engine) as connection:
            changes.lock_version(connection, "keys")
            connection.execute(sa.insert(key_rotation_requests).values(request._asdict()))
            changes.bump_version(connection, "keys")
            record_events(connection, [event])
        return request

    def get(self, rotation_id: str) -> RotationRequest:
        with read_transaction(self._engine) as connection:
            row = connection.execute(_requests.where(key_rotation_requests.c.id == rotation_id)).first()
        if row is None:
            raise RotationNotFound("there is no such rotation")
        try:
            return _request(row)
        except UnreadableValue as error:
            raise RowUnreadable(f"this rotation cannot be read: {error}") from None

    def newest(self, limit: int) -> list[RotationRequest]:
        query = _requests.order_by(key_rotation_requests.c.requested_at.desc(), key_rotation_requests.c.id).limit(limit)
        found: list[RotationRequest] = []
        with read_transaction(self._engine) as connection:
            for row in connection.execute(query):
                with contextlib.suppress(UnreadableValue):  # it can be requested again; the others are carried out
                    found.append(_request(row))
        return found

    def prune(self, before: datetime) -> int:
        c = key_rotation_requests.c
        old = sa.delete(key_rotation_requests).where(c.requested_at < before).returning(c.id)
        with write_transaction(self._engine) as connection:
            return len(connection.execute(old).all())


def _request(row: sa.Row[Any]) -> RotationRequest:
    """Raises UnreadableValue."""
    previous = document(row, "previous_key_ids")
    if not isinstance(previous, dict) or not all(isinstance(key_id, (str, type(None))) for key_id in previous.values()):
        raise UnreadableValue("previous_key_ids is not a map from region to key id")
    return RotationRequest(text(row, "id"), instant(row, "requested_at"), previous, text(row, "requested_by"))
