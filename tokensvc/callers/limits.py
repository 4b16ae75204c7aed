"""Rate limits on token requests: the generic cell rate algorithm (GCRA, ITU-T I.371, annex A), and a caller's limits.

Invariants
- One float for each key: the time at which its burst would be whole again. In any window of `t` seconds a key gets at
  most `burst + per_minute * t / 60` tokens.
- A refused request consumes nothing, of none of its limits.
- A rate that is raised applies immediately: nobody waits for longer than one token takes at the present rate, unless it
  asks for several.
- A table holds a bounded number of keys (`bounded_map.py`). A forgotten key starts with a whole burst.
- Times are read from the monotonic clock: an adjustment of the wall clock neither refuses nor admits anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from functools import lru_cache

from tokensvc.callers.bounded_map import BoundedMap
from tokensvc.callers.policy import NO_LIMITS, Caller, Rate
from tokensvc.errors import RateLimited

MAX_KEYS = 100_000
"""The keys of one table: about 20 MiB if all are in use."""
MIN_SHARED_BURST = 10
"""What remains of a burst, however many workers share it; a smaller burst is not divided."""
WORKERS_READ_EVERY_SECONDS = 1.0
_ROUNDING_SECONDS = 1e-6
"""Sums of floats are inexact; no request is refused for less."""


class GcraTable:
    """The state of one kind of limit."""

    __slots__ = ("_whole_at",)

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._whole_at: BoundedMap[Hashable, float] = BoundedMap(max_keys)

    def __len__(self) -> int:
        """The number of keys held, as `BoundedMap` counts them."""
        return len(self._whole_at)

    def check(self, key: Hashable, rate: Rate, now: float, cost: int = 1, workers: int = 1) -> float:
        """As `take`, without consuming anything."""
        wait, _ = self.judge(key, rate, now, cost, workers)
        return wait

    def take(self, key: Hashable, rate: Rate, now: float, cost: int = 1, workers: int = 1) -> float:
        """Take `cost` tokens. Returns 0.0 if they were there; else nothing is taken, and the result is how many seconds
        from now they would be. `now` is in seconds; `workers` share the rate. A cost above the burst is never there."""
        wait, whole_at = self.judge(key, rate, now, cost, workers)
        if wait == 0.0:
            self.put(key, whole_at)
        return wait

    def judge(self, key: Hashable, rate: Rate, now: float, cost: int = 1, workers: int = 1) -> tuple[float, float]:
        """The time to wait, as from `take`, and what to `put` for a request that is admitted: when the burst would be
        whole again."""
        interval, tolerance = _share(rate, workers)
        whole_at = self._whole_at.get(key)
        if whole_at is None or whole_at < now:
            whole_at = now
        elif whole_at > now + tolerance:  # of a slower rate, which no longer applies
            whole_at = now + tolerance
            self.put(key, whole_at)
        whole_at += interval * cost
        wait = whole_at - now - tolerance
        return (wait if wait > _ROUNDING_SECONDS else 0.0), whole_at

    def put(self, key: Hashable, whole_at: float) -> None:
        """Admit a request that was judged."""
        self._whole_at.put(key, whole_at)


@lru_cache(maxsize=4096)
def _share(rate: Rate, workers: int) -> tuple[float, float]:
    """One worker's share of a rate: the seconds from one token to the next, and the seconds that its burst takes to be
    whole again."""
    interval = 60.0 * workers / rate.per_minute
    burst = rate.burst if workers == 1 else min(rate.burst, max(MIN_SHARED_BURST, rate.burst // workers))
    return interval, interval * burst


AppliedLimit = tuple[str, Rate, tuple[str, ...]]
"""One limit that applies to a token request: its name (`caller`, `viewer` or `channel`), its rate, and the key of whose
tokens are counted, which begins with the caller's name: callers share no limit. A plain tuple, because up to three are
made for each token."""


def applied_limits(caller: Caller, channel_arn: str, viewer_id: str | None, subject: str | None) -> list[AppliedLimit]:
    """The limits that apply to a request: those of its caller's policy. A request without a viewer has no viewer's."""
    limits, name = caller.policy.limits, caller.name
    applied = list[AppliedLimit]()
    if limits.caller is not None:
        applied.append(("caller", limits.caller, (name,)))
    if limits.viewer is not None and (viewer_id is not None or subject is not None):
        viewer = (name, "id", viewer_id) if viewer_id is not None else (name, "subject", subject or "")
        applied.append(("viewer", limits.viewer, viewer))
    if limits.channel is not None:
        applied.append(("channel", limits.channel, (name, channel_arn)))
    return applied


_TOO_MANY = {
    "caller": "tokens for this caller",
    "viewer": "tokens for this viewer",
    "channel": "tokens for this channel",
    "address": "failed authentications from this address",
}
"""By limit, what there were too many of."""


def rate_limited_error(limit: str, rate: Rate, wait_seconds: float) -> RateLimited:
    """The error of a request that would be admitted after this time. Its policy is the value of a RateLimit-Policy
    header (draft-ietf-httpapi-ratelimit-headers, section 3): the quota of a window of 60 seconds."""
    retry_after = max(1, math.ceil(wait_seconds - _ROUNDING_SECONDS))
    return RateLimited(
        f"too many {_TOO_MANY[limit]}: at most {rate.per_minute} a minute, and {rate.burst} at once",
        limit=limit,
        policy=f'"{limit}";q={rate.per_minute};w=60',
        retry_after_seconds=retry_after,
    )


class TokenLimiter:
    """The limits on token requests of all callers, in one worker.

    The rates of callers and channels are divided by the number of workers; a viewer has its whole rate in each worker.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        count_workers: Callable[[], int] = lambda: 1,
        max_keys: int = MAX_KEYS,
    ) -> None:
        """`count_workers` returns the number of workers that issue tokens at present; it is called once a second."""
        self._monotonic = monotonic
        self._count_workers = count_workers
        self._workers = 1
        self._workers_read_at = -math.inf
        self._tables = {name: GcraTable(max_keys) for name in ("caller", "viewer", "channel")}

    def take(self, caller: Caller, channel_arn: str, viewer_id: str | None, subject: str | None) -> None:
        """Admit one token request, or raise RateLimited with the limit that it has to wait for longest."""
        if caller.policy.limits is NO_LIMITS:
            return
        self._take(applied_limits(caller, channel_arn, viewer_id, subject))

    def take_of_caller(self, caller: Caller) -> None:
        """Admit a request that is for no channel, such as an explanation: it counts as one token of the caller's
        limit, and of the viewer's who presents a bearer token. Raises RateLimited."""
        subject = caller.login.subject if caller.login is not None else None
        applied = applied_limits(caller, "", None, subject)
        self._take([limit for limit in applied if limit[0] != "channel"])

    def _take(self, applied: list[AppliedLimit]) -> None:
        now = self._monotonic()
        if now - self._workers_read_at >= WORKERS_READ_EVERY_SECONDS:
            self._workers, self._workers_read_at = max(1, self._count_workers()), now
        longest, reason, judged = 0.0, None, []
        for name, rate, key in applied:
            table = self._tables[name]
            wait, whole_at = table.judge(key, rate, now, 1, 1 if name == "viewer" else self._workers)
            judged.append((table, key, whole_at))
            if wait > longest:
                longest, reason = wait, (name, rate)
        if reason is not None:
            raise rate_limited_error(*reason, longest)
        for table, key, whole_at in judged:
            table.put(key, whole_at)
