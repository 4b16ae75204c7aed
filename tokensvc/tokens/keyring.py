"""The keyring: which key signs in each account and region, and which public keys IVS still accepts there.

Invariants
- One entry per account and region. A channel's tokens are signed only with a key of the channel's own entry.
- A keyring is immutable; workers replace it as a whole.
- A worker that cannot decrypt the active key may sign with a retiring key, but only while IVS is certain to hold it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import Action, FieldError, InvalidRequest, NoSigningKey, Remedy
from tokensvc.jose.es384 import PreparedKey
from tokensvc.jose.keypair import PublicKey


class SigningKey(NamedTuple):
    """The key that signs in an account and region, prepared once."""

    key_id: str
    prepared: PreparedKey
    longest_ttl_seconds: int
    activated_at: datetime | None = None
    not_after: float = math.inf
    """Until when it may sign, in Unix seconds on the worker's clock; finite for a retiring key only."""


class WithdrawnKey(NamedTuple):
    """A key whose tokens IVS should no longer accept in an account and region: it is retired or compromised there."""

    public: PublicKey
    is_compromised: bool
    is_imported: bool
    """Whether IVS still holds it, as far as is known: deleting it failed, or is not done yet."""


class RegionKeys(NamedTuple):
    """The keys of one account and region."""

    active: SigningKey | None
    """The key that this worker signs with: the active one, or a retiring one while the active one cannot be used."""
    verification_keys: Mapping[str, PublicKey]
    """By key id, the public keys that IVS holds there: active, prepared and retiring."""
    problem: str = ""
    """Why this worker cannot sign with the active key; "" when it can."""
    withdrawn_keys: Mapping[str, WithdrawnKey] = MappingProxyType({})
    """By key id, what was there before."""


class Keyring(NamedTuple):
    """All keys of one deployment."""

    region_keys: Mapping[AccountRegion, RegionKeys]
    undecryptable: frozenset[str] = frozenset()
    """The ids of the keys that should sign and that this worker could not decrypt."""

    def signing_key(self, account_region: AccountRegion, now: float) -> SigningKey:
        """The key that signs there. Raises InvalidRequest when other accounts and regions have keys and this one has
        none, NoSigningKey when none can sign."""
        keys = self.region_keys.get(account_region)
        active = keys.active if keys is not None else None
        if active is not None and now <= active.not_after:
            return active
        where = f"account {account_region.account}, region {account_region.region}"
        if keys is None and self.region_keys:
            raise InvalidRequest([FieldError("channelArn", f"no signing key is configured for {where}")])
        if keys is None:
            raise NoSigningKey("this service has no key yet", remedy=Remedy(Action.GENERATE_KEY))
        subject = {"account": account_region.account, "region": account_region.region}
        raise NoSigningKey(keys.problem or f"no key is active in {where}", subject=subject)


EMPTY_KEYRING = Keyring({})


def retiring_key_not_after(retiring_at: datetime, max_staleness_seconds: float, skew_seconds: float) -> float:
    """Until when a worker may sign with a retiring key, in Unix seconds on its own clock.

    A token signed at t can start playback until t + its lifetime, and the key pair is deleted no earlier than
    retiring_at + max_staleness + the longest lifetime + skew. So a token is never refused if t <= retiring_at +
    max_staleness on the store's clock. max_staleness allows for a worker that has not yet seen the rotation; a worker
    that has seen it and cannot decrypt the new key uses the same time. Its clock may be behind the store's by the skew,
    which is therefore subtracted. The snapshot's age does not matter: the limit is an instant, and the hot path
    compares it with the time of each token.
    """
    return retiring_at.timestamp() + max_staleness_seconds - skew_seconds
