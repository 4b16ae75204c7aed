"""Which session versions a revocation ends, and which ones tokens carry afterwards.

Rules of the file
- A token's session version is max(second of issue, M), M being the viewer's stored minimum. A revocation with filter F
  ends every version up to F and makes M = F + 1 in the same transaction; so whatever is signed by a worker that has
  heard of it lives, and whatever is signed by one that has not is ended with the rest.
- R, the reach, is the longest that a worker may act on old news: a snapshot's lease, the store's time-out and the skew
  of its clock. A worker that has not heard by now + R signs nothing.
- F is always sent: IVS takes a missing one for 0, which ends no token that carries a version.
- Time is the store's, read while the transaction holds the numbers that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import IntEnum, StrEnum

from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS


class State(StrEnum):
    """How far a revocation has come on its way to IVS."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    """IVS refused it for good."""
    CANCELLED = "cancelled"


class Lane(IntEnum):
    """Which of IVS's two allowances an entry has the first claim to."""

    ALONE = 0
    """Asked for by itself: somebody waits for it."""
    STORM = 1
    """One of many."""


def version_filter(now: float, reach_seconds: float, minimum: int, issued_before: int | None = None) -> int:
    """F: the highest session version to end.

    Without `issued_before` that is every version which a worker that has not heard may still give, R from now. With it,
    every version of a token that was issued before that second; a clock may have been ahead then. Never below M, which
    tokens may carry although their time has not come.
    """
    if issued_before is None:
        return max(math.floor(now + reach_seconds), minimum)
    return max(issued_before - 1 + CLOCK_SKEW_SECONDS, minimum)


def minimum_after(version: int) -> int:
    """M' = F + 1: the lowest version that a revocation with this filter spares."""
    return version + 1


def session_version(now: int, minimum: int) -> int:
    """The version that a token issued now carries."""
    return max(now, minimum)


def denied_until(now: float, reach_seconds: float, issued_before: int | None, deny_seconds: int | None) -> int:
    """Until when the viewer gets no token.

    Unless the caller says how long: until every worker has heard, since before that a worker might sign a token that is
    ended already. A revocation of what is older than an instant spares the viewer's later tokens, so it denies none.
    """
    if deny_seconds is not None:
        return math.ceil(now) + deny_seconds if deny_seconds else 0
    return math.ceil(now + reach_seconds) if issued_before is None else 0


def readmit_after(now: float, reach_seconds: float, version: int, denied_until: int) -> int:
    """From when on whatever worker is asked gives a token that the filter `version` spares: all have heard, or even
    one that has not, and whose clock is behind, gives a higher version by then; and the denial is over."""
    spared = min(now + reach_seconds, version + 1 + CLOCK_SKEW_SECONDS)
    return max(math.ceil(max(spared, now)), denied_until)


def overall(states: Iterable[State]) -> State:
    """The state of a revocation from those of its parts: one that waits keeps it queued, one that failed fails it."""
    found = frozenset(states)
    return next(state for state in (State.QUEUED, State.FAILED, State.SENT, State.CANCELLED) if state in found)
