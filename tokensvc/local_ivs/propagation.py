"""What the edge knows: changes made by operations reach it after the propagation delay.

Invariants
- Delayed are revocations, imports and deletions of playback key pairs, and deletions of channels. All other changes
  reach the edge immediately.
- The delay is a setting of the edge alone. Operations record when something changed and show the change immediately, as
  IVS's API does; so processes with different delays may share a store.
- INFERRED: All these changes have the same delay, by default none. IVS documents no delay: its API reference says only
  that StartViewerSessionRevocation "starts the process".
"""

from __future__ import annotations

from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.resources.types import ResourceType
from tokensvc.local_ivs.revocations import HISTORY_SECONDS, revoked_version

MAX_DELAY_SECONDS = HISTORY_SECONDS
"""The longest propagation delay. Deletions are recorded for this long."""
_DELETED_AT = "deletedAt"
_PRUNE_BATCH_SIZE = 10


class EdgeView(NamedTuple):
    """The state that has reached the edge."""

    transaction: ResourceTransaction
    now: float
    delay_seconds: float = 0.0

    def channel(self, arn: Arn) -> Resource | None:
        """The channel, also if its deletion has not reached the edge yet."""
        channel = self.transaction.get(str(arn))
        if channel is None and self.delay_seconds:
            channel = self.transaction.get(_deletion_key(str(arn)))
            return channel if channel is not None and self._still_known(channel) else None
        return channel

    def key_pairs(self, account_region: AccountRegion) -> list[Resource]:
        """The playback key pairs whose import has reached the edge and whose deletion has not."""
        pairs = self.transaction.find(account_region, "playback-key")
        if self.delay_seconds:
            deleted = self.transaction.find(account_region, _deleted_kind("playback-key"))
            pairs += filter(self._still_known, deleted)
            pairs = [pair for pair in pairs if pair.created_at <= self._known_until]
        return pairs

    def revoked_version(self, channel_arn: str, viewer_id: str) -> int:
        """The highest revoked session version of a viewer of a channel, or NOTHING_REVOKED."""
        return revoked_version(self.transaction, channel_arn, viewer_id, self._known_until)

    @property
    def _known_until(self) -> float:
        """Changes up to this time have reached the edge."""
        return self.now - self.delay_seconds

    def _still_known(self, deleted: Resource) -> bool:
        return bool(deleted.body[_DELETED_AT] > self._known_until)


def record_deletion(
    transaction: ResourceTransaction, resource_type: ResourceType, resource: Resource, now: float
) -> None:
    """Record what the edge uses of a resource that is being deleted, and remove a few old records."""
    if not resource_type.edge_members:
        return
    kind = _deleted_kind(resource.kind)
    for _, old in transaction.page(resource.account_region, kind, after=0, limit=_PRUNE_BATCH_SIZE):
        if old.body[_DELETED_AT] <= now - MAX_DELAY_SECONDS:
            transaction.delete(old.arn)
    body = {member: resource.body[member] for member in resource_type.edge_members}
    body[_DELETED_AT] = now
    transaction.put(resource._replace(arn=_deletion_key(resource.arn), kind=kind, unique_key="", body=body))


def _deletion_key(arn: str) -> str:
    """The key of a record. It is never a valid ARN, so no operation can address it."""
    return f"{arn}/deleted"


def _deleted_kind(kind: str) -> str:
    return f"deleted-{kind}"
