"""How fast IVS may be told: allowances, a slow-down when others use the same account, and the wait after a fault.

Rules of the file
- Pure: instants come in, on a clock that never runs backwards.
- Of any n + 1 calls in a row the last begins at least n / rate after the first ended, n being a second's worth. IVS
  counts a call somewhere between the two, so on its side too no span of n / rate, wherever it begins, holds more than
  `share` of what it documents, however much one call takes longer on its way than another.
- An allowance starts used up: whoever led before may have spent it a moment ago.
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
"""INFERRED: that the two allowances add up to 50 viewers a second. The quota page has a row for each operation and does
not say that they share anything; were they one, IVS would throttle and `AimdThrottle` would find the rate that holds."""

GUARD_SECONDS = 0.002
"""Two clocks do not tick alike: a call never comes at the very instant at which IVS would let it through."""

MIN_PACE = 0.05
_INCREASE_PER_SECOND = 0.05
_ONE_SECOND = 1.0

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0


class RateLimiter:
    """Calls of one operation to one account and region. It is asked only while none is under way."""

    def __init__(self, calls_per_second: float, now: float) -> None:
        self._rate = calls_per_second
        self._ended = deque([now] * _burst_size(calls_per_second), maxlen=_burst_size(calls_per_second))

    def available(self, now: float, pace: float = 1.0) -> int:
        """How many calls may be made now, at this share of the full pace."""
        left = (
            calls - sum(finished_at + span > now for finished_at in self._ended) for calls, span in self._windows(pace)
        )
        return max(0, min(left))

    def record_call(self, now: float) -> None:
        """Note that a call has just ended, well or not."""
        self._ended.append(now)

    def next_available_at(self, pace: float = 1.0) -> float:
        """When the next call may be made, if none is made before."""
        return max(self._ended[-calls] + span for calls, span in self._windows(pace))

    def _windows(self, pace: float) -> tuple[tuple[int, float], ...]:
        """So many calls in so many seconds, both of which hold: at the full pace, and at this one."""
        return tuple(
            (_burst_size(rate), _burst_size(rate) / rate + GUARD_SECONDS) for rate in (self._rate, self._rate * pace)
        )


class AimdThrottle:
    """Additive increase, multiplicative decrease: what IVS throttles although we kept the rate is halved at once, and
    comes back by a twentieth of the full pace a second."""

    def __init__(self) -> None:
        self._pace = 1.0
        self._since = -math.inf

    def pace(self, now: float) -> float:
        """The share of the full pace to keep now: from SLOWEST to 1."""
        return 1.0 if math.isinf(self._since) else min(1.0, self._pace + (now - self._since) * _INCREASE_PER_SECOND)

    def record_throttle(self, now: float) -> None:
        """IVS let a call not through. Several within a second are one sign."""
        if now - self._since >= _ONE_SECOND:
            self._pace, self._since = max(MIN_PACE, self.pace(now) / 2), now


def delivery_seconds(queued: int, rate_fraction: float) -> float:
    """How long IVS is told of so many viewers of one place, at this share of its rates, if nothing goes wrong."""
    return queued / (VIEWERS_PER_SECOND * rate_fraction)


def backoff(failures: int, jitter: float, longest: float = MAX_BACKOFF_SECONDS) -> float:
    """How long to wait after so many failures in a row: doubling up to `longest`, and of that between a half and the
    whole, as `chance` (from 0 to 1) says, so that what failed together does not come back together."""
    doubled = MIN_BACKOFF_SECONDS * 2.0 ** min(max(failures, 1) - 1, 30)
    return min(longest, doubled) * (1 + jitter) / 2


def _burst_size(rate: float) -> int:
    """A second's worth of calls, and at least one."""
    return max(1, math.floor(rate))
