"""Spent single uses, stored with the local IVS's resources so that they survive a restart.

Invariants
- Source: IVS user guide, "Generate and Sign Playback Tokens", single-use-uuid.
- INFERRED: A single use is identified by its channel and its UUID in lower case. Only a GET that is answered with 200
  spends it.
- `is_spent` and `spend` belong to one writing transaction: of concurrent attempts, in whatever processes, exactly one
  succeeds.
- A single-use token lives at most ten minutes, so a use is kept for that time and some allowance; each new use deletes
  a few old ones.
"""

from __future__ import annotations

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.tokens.claims import TEN_MINUTES_SECONDS

RETENTION_SECONDS = TEN_MINUTES_SECONDS + 60
_KIND = "single-use"
_PRUNE_BATCH_SIZE = 10


def is_spent(transaction: ResourceTransaction, channel: Arn, uuid: str) -> bool:
    """Whether a single use was spent."""
    return transaction.get(_key(channel, uuid)) is not None


def spend(transaction: ResourceTransaction, channel: Arn, uuid: str, now: float) -> None:
    """Spend a single use that is not spent."""
    for _, old in transaction.page(channel.account_region, _KIND, after=0, limit=_PRUNE_BATCH_SIZE):
        if old.created_at < now - RETENTION_SECONDS:
            transaction.delete(old.arn)
    transaction.put(Resource(_key(channel, uuid), channel.account_region, _KIND, str(channel), "", {}, now))


def _key(channel: Arn, uuid: str) -> str:
    return f"{channel}/{_KIND}/{uuid.lower()}"
