"""What the store knows of the deployment's key pairs: their public halves and their state in each place.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or StoreUnfit.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.core.arn import Place
from tokensvc.core.lifecycle import KeyState


class KeyInPlace(NamedTuple):
    """One of our key pairs in one account and region."""

    place: Place
    state: KeyState
    arn: str
    imported_at: datetime
    activated_at: datetime | None
    retiring_at: datetime | None
    retired_at: datetime | None
    longest_ttl_seconds: int
    """The longest life a token signed with it here may have; 0 until it is first active, and only ever raised."""


class KeyRecord(NamedTuple):
    """One of our key pairs. A record without places was made but is not (yet) known to be in IVS."""

    id: str
    fingerprint: str
    public_der: bytes
    created_at: datetime
    places: tuple[KeyInPlace, ...]


class KeyStore(Protocol):
    """Records of key pairs. Each change raises the `keys` version in its own transaction."""

    def add(self, key_id: str, fingerprint: str, public_der: bytes, created_at: datetime) -> KeyRecord:
        """Record a new key pair, in no place yet. Raises Conflict when the id or the public half is taken."""
        ...

    def list(self) -> list[KeyRecord]:
        """All records, oldest first."""
        ...

    def get(self, key_id: str) -> KeyRecord:
        """One record. Raises KeyNotFound."""
        ...

    def record_import(self, key_id: str, place: Place, arn: str, at: datetime) -> KeyRecord:
        """Note that IVS holds the key pair in that place: it is prepared there.

        Doing it again with the same ARN changes nothing, whatever the key is there by now. Another ARN for the same
        place, or an ARN that another key has, raises LostRace. Raises KeyNotFound.
        """
        ...

    def activate(self, key_id: str, place: Place, at: datetime, longest_ttl_seconds: int) -> KeyRecord:
        """Make this prepared key the active one of the place; the one that was active is retiring from then on.

        One transaction. The key's longest life becomes the greatest of what it was, `longest_ttl_seconds` and the
        deployment's ceiling, which may have been raised since the caller read it. Doing it again changes nothing but
        that. Raises LostRace when the key is neither prepared nor active there, KeyNotFound.
        """
        ...

    def retire(self, key_id: str, place: Place, at: datetime) -> KeyRecord:
        """Note that IVS no longer holds this key pair there. Doing it again changes nothing.

        Raises LostRace when the key is active there, or was never known to be there; KeyNotFound.
        """
        ...

    def discard(self, key_id: str) -> None:
        """Forget a record that is in no place; nothing happens when there is none.

        Raises LostRace when it is, or was, in one.
        """
        ...
