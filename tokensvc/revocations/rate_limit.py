"""Client-side rate limits for IVS's revocation operations: a limiter, an AIMD throttle and the back-off after errors.

Invariants
- Pure: instants are arguments, on a monotonic clock.
- In any run of n + 1 calls the last begins at least n / rate after the first ended, where n is the number of calls in
  one second. IVS counts a call somewhere between its start and its end, so on its side, too, no window of n / rate
  seconds contains more than the configured fraction of the documented rate, however much network latency varies.
- A limiter starts exhausted, because the previous leader may have used its capacity a moment ago.
"""

from __future__ import annotations

import math
from collections import deque

SINGLE_CALLS_PER_SECOND = 10
"""StartViewerSessionRevocation, per account and region (IVS user guide, "Service Quotas"); not adjustable."""
BATCH_CALLS_PER_SECOND = 2
"""BatchStartViewerSessionRevocation, likewise."""
BATCH_VIEWERS = 20
"""Viewers in one batch (IVS API reference)."""

VIEWERS_PER_SECOND = SINGLE_CALLS_PER_SECOND + BATCH_CALLS_PER_SECOND * BATCH_VIEWERS
"""INFERRED: The rate limits of single and batch revocations add up to 50 viewers a second. The quota page has a row for
each operation and does not say that they share a limit. If they did, IVS would throttle, and `AimdThrottle` would find
the sustainable rate."""

GUARD_SECONDS = 0.002
"""A margin for clock drift: no call is made at the exact instant at which IVS would accept it."""

MIN_PACE = 0.05
_INCREASE_PER_SECOND = 0.05
_ONE_SECOND = 1.0

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0


class RateLimiter:
    """The rate limit of one operation in one account and region. Query it only while no call is in progress."""

    def __init__(self, calls_per_second: float, now: float) -> None:
        self._rate = calls_per_second
        self._ended = deque([now] * _burst_size(calls_per_second), maxlen=_burst_size(calls_per_second))

    def available(self, now: float, pace: float = 1.0) -> int:
        """How many calls may be made now, at this fraction of the full rate."""
        left = (
            calls - sum(finished_at + span > now for finished_at in self._ended) for calls, span in self._windows(pace)
        )
        return max(0, min(left))

    def record_call(self, now: float) -> None:
        """Record that a call has just ended, whether it succeeded or failed."""
        self._ended.append(now)

    def next_available_at(self, pace: float = 1.0) -> float:
        """When the next call may be made, if no other is made before."""
        return max(self._ended[-calls] + span for calls, span in self._windows(pace))

    def _windows(self, pace: float) -> tuple[tuple[int, float], ...]:
        """(calls, seconds) for the full rate and for the reduced one; both limits apply."""
        return tuple(
            (_burst_size(rate), _burst_size(rate) / rate + GUARD_SECONDS) for rate in (self._rate, self._rate * pace)
        )


class AimdThrottle:
    """Additive increase, multiplicative decrease (AIMD): a throttled call halves the rate, which then recovers by a
    twentieth of the full rate a second. Throttling despite our limit means that others use the same account."""

    def __init__(self) -> None:
        self._pace = 1.0
        self._since = -math.inf

    def pace(self, now: float) -> float:
        """The fraction of the full rate to use now, from MIN_PACE to 1."""
        return 1.0 if math.isinf(self._since) else min(1.0, self._pace + (now - self._since) * _INCREASE_PER_SECOND)

    def record_throttle(self, now: float) -> None:
        """Record that IVS throttled a call. Several within a second count once."""
        if now - self._since >= _ONE_SECOND:
            self._pace, self._since = max(MIN_PACE, self.pace(now) / 2), now


def delivery_seconds(queued: int, rate_fraction: float) -> float:
    """How long it takes to deliver the revocations of this many viewers in one account and region, at this fraction of
    IVS's rates, if nothing fails."""
    return queued / (VIEWERS_PER_SECOND * rate_fraction)


def backoff(failures: int, jitter: float, longest: float = MAX_BACKOFF_SECONDS) -> float:
    """Seconds to wait after this many consecutive failures: doubling up to `longest`, then scaled to between a half and
    the whole by `jitter` (0 to 1), so that what failed together is not retried together."""
    doubled = MIN_BACKOFF_SECONDS * 2.0 ** min(max(failures, 1) - 1, 30)
    return min(longest, doubled) * (1 + jitter) / 2


def _burst_size(rate: float) -> int:
    """The number of calls in one second, at least one."""
    return max(1, math.floor(rate))
