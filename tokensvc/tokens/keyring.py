"""The ring: which key signs where, and which ones IVS still admits there.

Rules of the file
- One slot per account and region. A key signs for a channel only from its channel's own slot.
- A ring never changes; workers swap a new one in whole.
- A worker that cannot open the active key may sign with a retiring one, but only while IVS is sure to hold it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import Action, FieldError, InvalidRequest, NoSigningKey, Remedy
from tokensvc.jose.es384 import PreparedKey
from tokensvc.jose.keypair import PublicKey


class SigningKey(NamedTuple):
    """The key that signs in a place, prepared once."""

    key_id: str
    prepared: PreparedKey
    longest_ttl_seconds: int
    activated_at: datetime | None = None
    not_after: float = math.inf
    """The last moment at which it may sign, in Unix seconds on the worker's clock: a retiring key's is near."""


class RegionKeys(NamedTuple):
    """The keys of one place."""

    active: SigningKey | None
    """The key that this worker signs with: the active one, or a retiring one in its stead while there is trouble."""
    verification_keys: Mapping[str, PublicKey]
    """By key id, the public halves that IVS holds there: active, prepared and retiring."""
    problems: str = ""
    """Why this worker cannot sign with the key that is active."""


class Keyring(NamedTuple):
    """All slots of one deployment."""

    region_keys: Mapping[AccountRegion, RegionKeys]
    undecryptable: frozenset[str] = frozenset()
    """The ids of the keys that should sign and that this worker could not open."""

    def signing_key(self, account_region: AccountRegion, now: float) -> SigningKey:
        """The key that signs there. Raises InvalidRequest or NoSigningKey saying what to do about it."""
        slot = self.region_keys.get(account_region)
        active = slot.active if slot is not None else None
        if active is not None and now <= active.not_after:
            return active
        where = f"account {account_region.account}, region {account_region.region}"
        if slot is None and self.region_keys:
            raise InvalidRequest([FieldError("channelArn", f"is in {where}, where this service holds no key")])
        if slot is None:
            raise NoSigningKey("this service holds no key yet", remedy=Remedy(Action.GENERATE_KEY))
        subject = {"account": account_region.account, "region": account_region.region}
        raise NoSigningKey(slot.problems or f"no key is active in {where}", subject=subject)


EMPTY_KEYRING = Keyring({})


def retiring_key_not_after(retiring_at: datetime, max_staleness_seconds: float, skew_seconds: float) -> float:
    """Until when a worker may sign with a retiring key, in Unix seconds on its own clock.

    A token signed at t starts playback until t + its life, and the pair is deleted no earlier than retiring_at + R +
    the longest life + skew. So a token is never refused if t <= retiring_at + R on the store's clock. R allows for a
    worker that has not heard of the rotation; one that has heard and cannot open the new key makes use of the same
    time. Its clock may be behind the store's by the skew, which is therefore taken off. That the snapshot may be old
    changes nothing: the limit is an instant, and the hot path looks at it for each token.
    """
    return retiring_at.timestamp() + max_staleness_seconds - skew_seconds
