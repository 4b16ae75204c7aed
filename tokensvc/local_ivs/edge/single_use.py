"""Which single uses were spent, remembered where the local IVS keeps its resources, so that a restart forgets none.

Rules of the file
- IVS user guide, "Generate and Sign Playback Tokens", single-use-uuid. INFERRED: the key is (channel, UUID), written
  in lower case; it is spent by a GET that is answered 200, and by nothing else.
- A token with a single use lives ten minutes at most, so a use is forgotten after that and some allowance; each one
  that is spent clears a few old ones away.
"""

from __future__ import annotations

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.resource_store import Resource, ResourceStore
from tokensvc.tokens.claims import TEN_MINUTES_SECONDS

REMEMBERED_SECONDS = TEN_MINUTES_SECONDS + 60
_KIND = "single-use"
_CLEARED_AT_ONCE = 10


class SingleUses:
    """Asks and spends."""

    def __init__(self, resources: ResourceStore) -> None:
        self._resources = resources

    def is_spent(self, channel: Arn, uuid: str) -> bool:
        with self._resources.begin(write=False) as transaction:
            return transaction.get(_name(channel, uuid)) is not None

    def spend(self, channel: Arn, uuid: str, now: float) -> bool:
        """Spend it; False when another did so before. Of several at once exactly one is told True."""
        name = _name(channel, uuid)
        with self._resources.begin(write=True) as transaction:
            for _, old in transaction.page(channel.account_region, _KIND, after=0, limit=_CLEARED_AT_ONCE):
                if old.created_at < now - REMEMBERED_SECONDS:
                    transaction.delete(old.arn)
            if transaction.get(name) is not None:
                return False
            transaction.put(Resource(name, channel.account_region, _KIND, str(channel), "", {}, now))
            return True


def _name(channel: Arn, uuid: str) -> str:
    return f"{channel}/{_KIND}/{uuid.lower()}"
