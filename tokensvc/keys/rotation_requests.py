"""RotationRequestStore that somebody asked for. What became of one is seen in the keys, so nothing else is stored.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol


class RotationRequest(NamedTuple):
    """A wish: in each of these regions, another key than the one that signed there."""

    id: str
    requested_at: datetime
    previous_key_ids: Mapping[str, str | None]
    """By region, the key that signed when it was asked for; None where none did."""
    requested_by: str


class RotationRequestStore(Protocol):
    """All wishes."""

    def request(
        self, rotation_id: str, previous_key_ids: Mapping[str, str | None], at: datetime, by: str
    ) -> RotationRequest:
        """Keep a wish. It raises the `keys` version in its transaction, so that whoever performs hears of it."""
        ...

    def get(self, rotation_id: str) -> RotationRequest:
        """One wish. Raises RotationNotFound."""
        ...

    def newest(self, limit: int) -> list[RotationRequest]:
        """The last wishes, newest first."""
        ...

    def prune(self, before: datetime) -> int:
        """Forget wishes that were made before then; how many."""
        ...
