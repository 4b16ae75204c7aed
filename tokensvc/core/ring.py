"""The ring: which key signs where, and which ones IVS still admits there.

Rules of the file
- One slot per account and region. A key signs for a channel only from its channel's own slot.
- A ring never changes; workers swap a new one in whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from tokensvc.core.arn import Place
from tokensvc.core.keypair import PublicKey
from tokensvc.errors import FieldError, InvalidRequest, NoSigningKey


class SigningKey(NamedTuple):
    """The key that signs in a place, prepared once."""

    key_id: str
    sign: Callable[[bytes], bytes]
    longest_ttl_seconds: int
    activated_at: datetime | None = None


class Slot(NamedTuple):
    """The keys of one place."""

    active: SigningKey | None
    accepted: Mapping[str, PublicKey]
    """By key id, the public halves that IVS holds there: active, prepared and retiring."""
    trouble: str = ""
    """Why there is an active key that this worker cannot sign with."""


class Ring(NamedTuple):
    """All slots of one deployment."""

    slots: Mapping[Place, Slot]

    def signing_key(self, place: Place) -> SigningKey:
        """The key that signs there. Raises InvalidRequest or NoSigningKey saying what to do about it."""
        slot = self.slots.get(place)
        if slot is not None and slot.active is not None:
            return slot.active
        where = f"account {place.account}, region {place.region}"
        if slot is None and self.slots:
            raise InvalidRequest([FieldError("channelArn", f"is in {where}, where this service holds no key")])
        if slot is None:
            raise NoSigningKey("this service holds no key yet; an operator makes one with: tokensvc keys generate")
        raise NoSigningKey(slot.trouble or f"no key is active in {where}")


EMPTY_RING = Ring({})
