"""The channels of token requests: from the snapshot, or looked up when it lacks them.

Invariants
- A request waits as long as the channel cache allows, once for all its channels.
- Only channels in an account and region where we hold a key are looked up.
"""

from __future__ import annotations

import asyncio

from tokensvc.aws.arn import parse_arn
from tokensvc.callers.policy import Caller
from tokensvc.tokens.channel_cache import ChannelCache
from tokensvc.tokens.snapshot import KnownChannel, Snapshot


class ChannelLookups:
    """Looks up channels, waiting on the event loop."""

    def __init__(self, channel_cache: ChannelCache) -> None:
        self._channel_cache = channel_cache

    async def resolve(self, arns: set[str], snapshot: Snapshot, caller: Caller) -> dict[str, KnownChannel | None]:
        """These channels by ARN; None for one that IVS does not have. What cannot be found in time is left out."""
        known: dict[str, KnownChannel | None] = {}
        for arn in arns:
            channel = snapshot.channels.get(arn)
            if channel is not None and self._channel_cache.is_current(channel):
                known[arn] = channel
        return known | await self._look_up(arns - known.keys(), snapshot, caller)

    async def _look_up(self, arns: set[str], snapshot: Snapshot, caller: Caller) -> dict[str, KnownChannel | None]:
        lookups = {
            arn: self._channel_cache.look_up(arn, caller.name)
            for arn in arns
            if parse_arn(arn, "channel").account_region in snapshot.keyring.region_keys
        }
        waits = {asyncio.wrap_future(q): seconds for q, seconds in lookups.values() if not q.done() and seconds > 0}
        if waits:
            await asyncio.wait(waits, timeout=max(waits.values()))
        return {arn: lookup.result() for arn, (lookup, _) in lookups.items() if lookup.done()}
