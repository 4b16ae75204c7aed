"""Rate limits of IVS's operations, and the limiter that enforces them. Each operation declares its own.

Invariants
- Source of all limits: IVS user guide, "Service Quotas", API call rates; each is per account and region. The two limits
  of PutMetadata are in the API reference too. None is adjustable.
- INFERRED: Calls are counted by a token bucket that holds one second's worth of calls and refills steadily. IVS does
  not document how it counts.
- A call that exceeds one limit of its operation takes from none of the buckets and changes nothing.
- INFERRED: Only requests that pass the model's validation count towards a rate limit.
- Time is the local IVS's own monotonic clock, which the management listener can advance: waiting there refills buckets,
  and changes of the machine's wall clock neither empty nor fill one. Tests can set it back, so the distance in time
  counts, in either direction: otherwise a bucket would stay empty until the time of its last call comes again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import throttled

MAX_BUCKETS = 10_000
"""Above this number, full buckets are dropped."""


class RateLimit(NamedTuple):
    """The number of calls per second that are allowed."""

    per_second: int
    member: str = ""
    """The request member by whose value calls are counted separately; "" counts all calls of the account together."""


class _Bucket(NamedTuple):
    """The number of calls left in a bucket at an instant."""

    calls: float
    at: float

    def refilled(self, limit: RateLimit, now: float) -> float:
        return min(float(limit.per_second), self.calls + abs(now - self.at) * limit.per_second)


class OperationRateLimiter:
    """Counts calls per operation, account and region. Thread-safe."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, AccountRegion, str], _Bucket] = {}
        self._lock = threading.Lock()

    def acquire(
        self,
        operation: str,
        limits: tuple[RateLimit, ...],
        account_region: AccountRegion,
        request: Mapping[str, Any],
        now: float,
    ) -> None:
        """Count one call. Raises IvsError if it exceeds a limit."""
        with self._lock:
            taken: dict[tuple[str, AccountRegion, str], _Bucket] = {}
            for limit in limits:
                value = str(request[limit.member]) if limit.member else ""
                key = (operation, account_region, value)
                calls = self._buckets.get(key, _Bucket(limit.per_second, now)).refilled(limit, now)
                if calls < 1:
                    raise throttled(operation, limit.per_second, value or f"account {account_region.account}")
                taken[key] = _Bucket(calls - 1, now)
            self._buckets |= taken
            if len(self._buckets) > MAX_BUCKETS:
                self._drop_full(now)

    def _drop_full(self, now: float) -> None:
        """Drop the buckets that are full again, as every bucket is after a second without calls."""
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if abs(now - bucket.at) < 1}
