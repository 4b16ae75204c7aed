"""Spent single uses, stored with the local IVS's resources so that they survive a restart.

Invariants
- Source: IVS user guide, "Generate and Sign Playback Tokens", single-use-uuid.
- INFERRED: A single use is identified by its channel and its UUID in lower case. Only a GET that is answered with 200
  spends it.
- A single-use token lives at most ten minutes, so a use is kept for that time and some allowance; each new use deletes
  a few old ones.
"""

from __future__ import annotations

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.resource_store import Resource, ResourceStore
from tokensvc.tokens.claims import TEN_MINUTES_SECONDS

RETENTION_SECONDS = TEN_MINUTES_SECONDS + 60
_KIND = "single-use"
_PRUNE_BATCH_SIZE = 10


class SingleUses:
    """Spends single uses. Of concurrent attempts exactly one succeeds."""

    def __init__(self, resources: ResourceStore) -> None:
        self._resources = resources

    def is_spent(self, channel: Arn, uuid: str) -> bool:
        with self._resources.begin(write=False) as transaction:
            return transaction.get(_key(channel, uuid)) is not None

    def spend(self, channel: Arn, uuid: str, now: float) -> bool:
        """Spend a single use. Returns False if it was already spent."""
        key = _key(channel, uuid)
        with self._resources.begin(write=True) as transaction:
            for _, old in transaction.page(channel.account_region, _KIND, after=0, limit=_PRUNE_BATCH_SIZE):
                if old.created_at < now - RETENTION_SECONDS:
                    transaction.delete(old.arn)
            if transaction.get(key) is not None:
                return False
            transaction.put(Resource(key, channel.account_region, _KIND, str(channel), "", {}, now))
            return True


def _key(channel: Arn, uuid: str) -> str:
    return f"{channel}/{_KIND}/{uuid.lower()}"
