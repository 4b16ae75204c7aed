"""Rotation requests. Their progress is derived from the states of the keys, so it is not stored.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol


class RotationRequest(NamedTuple):
    """A request that in each of these regions another key than the active one becomes active."""

    id: str
    requested_at: datetime
    previous_key_ids: Mapping[str, str | None]
    """By region, the key that was active at the time of the request, or None."""
    requested_by: str


class RotationRequestStore(Protocol):
    """All rotation requests."""

    def request(
        self, rotation_id: str, previous_key_ids: Mapping[str, str | None], at: datetime, by: str
    ) -> RotationRequest:
        """Store a request. Raises the `keys` version in the same transaction, which wakes the rotation leader."""
        ...

    def get(self, rotation_id: str) -> RotationRequest:
        """One request. Raises RotationNotFound."""
        ...

    def newest(self, limit: int) -> list[RotationRequest]:
        """The latest requests, newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Delete the requests that were made before that time; returns their number."""
        ...
