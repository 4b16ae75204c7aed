"""How often an operation may be called: IVS's published rates, as data, and the buckets that hold callers to them.

Rules of the file
- Source: IVS user guide, "Service Quotas", API call rates; each is for an account in a region. PutMetadata's two are in
  the API reference too. None is adjustable.
- A bucket holds one second's worth of calls and fills steadily. INFERRED: IVS does not say how it counts.
- A call that breaks one of its operation's rates takes from none of them, and nothing has changed by it. INFERRED: only
  a request that passed the model's checks is counted.
- Time is the local IVS's own monotonic clock, the one that the management listener puts forward: what a test waits for
  there includes the refill of a bucket, and no change of the machine's wall clock empties or fills one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import throttled


class RateLimit(NamedTuple):
    """Calls a second that are let through."""

    per_second: int
    member: str = ""
    """The member of the request whose values are counted apart; "" where all calls of the account count together."""


def _each(per_second: int, *operations: str) -> dict[str, tuple[RateLimit, ...]]:
    return {operation: (RateLimit(per_second),) for operation in operations}


RATES: Mapping[str, tuple[RateLimit, ...]] = {
    **_each(5, "CreateChannel", "GetChannel", "UpdateChannel", "DeleteChannel", "ListChannels", "BatchGetChannel"),
    **_each(5, "CreateStreamKey", "GetStreamKey", "DeleteStreamKey", "ListStreamKeys", "BatchGetStreamKey"),
    **_each(5, "GetStream", "ListStreams", "GetStreamSession", "ListStreamSessions", "StopStream"),
    **_each(5, "CreatePlaybackRestrictionPolicy", "GetPlaybackRestrictionPolicy", "UpdatePlaybackRestrictionPolicy"),
    **_each(5, "DeletePlaybackRestrictionPolicy", "ListPlaybackRestrictionPolicies"),
    **_each(3, "ImportPlaybackKeyPair", "GetPlaybackKeyPair", "DeletePlaybackKeyPair", "ListPlaybackKeyPairs"),
    **_each(3, "CreateRecordingConfiguration", "GetRecordingConfiguration", "DeleteRecordingConfiguration"),
    **_each(3, "ListRecordingConfigurations"),
    **_each(3, "CreateAdConfiguration", "GetAdConfiguration", "DeleteAdConfiguration", "ListAdConfigurations"),
    **_each(10, "StartViewerSessionRevocation", "TagResource", "UntagResource", "ListTagsForResource"),
    **_each(2, "BatchStartViewerSessionRevocation"),
    **_each(1, "InsertAdBreak"),
    "PutMetadata": (RateLimit(5, "channelArn"), RateLimit(155)),
}
"""Operation -> its rates, all of which hold."""

WITHOUT_PUBLISHED_RATE = frozenset(
    {
        "UpdateAdConfiguration",
        *("CreateFailoverSlateConfiguration", "GetFailoverSlateConfiguration", "UpdateFailoverSlateConfiguration"),
        *("DeleteFailoverSlateConfiguration", "ListFailoverSlateConfigurations"),
    }
)
"""The quota page has no row for these, so nothing holds them back here; IVS surely has a rate for them."""

BUCKETS_BEFORE_CLEARING = 10_000


class _Bucket(NamedTuple):
    """How much is in it, and when that was so."""

    calls: float
    at: float

    def filled(self, rate: RateLimit, now: float) -> float:
        return min(float(rate.per_second), self.calls + max(0.0, now - self.at) * rate.per_second)


class OperationRateLimiter:
    """Counts calls. Safe to share among threads."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, AccountRegion, str], _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, operation: str, account_region: AccountRegion, request: Mapping[str, Any], now: float) -> None:
        """Count one call. Raises IvsError when it comes too soon."""
        rates = RATES.get(operation, ())
        with self._lock:
            taken: dict[tuple[str, AccountRegion, str], _Bucket] = {}
            for rate in rates:
                whose = str(request[rate.member]) if rate.member else ""
                key = (operation, account_region, whose)
                calls = self._buckets.get(key, _Bucket(rate.per_second, now)).filled(rate, now)
                if calls < 1:
                    raise throttled(operation, rate.per_second, whose or f"account {account_region.account}")
                taken[key] = _Bucket(calls - 1, now)
            self._buckets |= taken
            if len(self._buckets) > BUCKETS_BEFORE_CLEARING:
                self._clear(now)

    def _clear(self, now: float) -> None:
        """Forget the buckets that are full again after a second, as all are."""
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.at > now - 1}
