"""Which session versions a revocation ends, and which ones tokens carry afterwards.

Rules of the file
- A token's session version is max(second of issue, M), M being the viewer's stored minimum. A revocation of everything
  with filter F ends every version up to F and makes M = F + 1 in the same transaction; so whatever a worker signs after
  it has read M lives, and whatever one signs that has not is ended with the rest.
- While M is ahead of the clock, versions rise slowly above it (`ViewerRestriction.lowest_version`), so that they always rise
  with the time of issue, which is a matter of the clock of the worker that issues.
- A revocation of what was issued before an instant ends the versions below the one that a token issued at that instant
  carries, and no other: never what was issued later. What a revocation of everything before it has to end, that one's
  own filter ends.
- M never falls.
- R, the reach, is the longest that a worker may act on old news: a snapshot's lease, the store's time-out and the skew
  of its clock. A worker that has not heard by now + R signs nothing.
- F is always sent: IVS takes a missing one for 0, which ends no token that carries a version.
- Time is the store's, read while the transaction holds the numbers that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import IntEnum, StrEnum

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.tokens.denylist import ViewerRestriction, session_version


class RevocationState(StrEnum):
    """How far a revocation has come on its way to IVS."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    """IVS refused it for good."""
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """Which of IVS's two allowances an entry has the first claim to."""

    INTERACTIVE = 0
    """Asked for by itself: somebody waits for it."""
    BULK = 1
    """One of many."""


MINIMUM_AHEAD_MAX_SECONDS = 86_400
"""How far M may be ahead of the clock and versions still rise before the clock has caught up. Only who revokes a viewer
hundreds of times within hours gets that far; from there on each revocation takes one version and not a hundred, so that
versions stay within what IVS takes."""


def versions_up_to(
    now: float, max_staleness_seconds: float, standing: ViewerRestriction, issued_before: int | None = None
) -> int:
    """F: the highest session version to end.

    Without `issued_before` that is every version which a worker that has not heard may still give, R from now. With it,
    every version below that of a token issued at that second, as the standing makes it.
    """
    if issued_before is None:
        last = math.floor(now + max_staleness_seconds)
        return session_version(last, standing.lowest_version(last))
    return max(0, _version_at(issued_before, standing) - 1)


def restriction_after(
    now: float, standing: ViewerRestriction, version: int, issued_before: int | None = None
) -> ViewerRestriction:
    """The standing with the minimum that a revocation with the filter `version` leaves: F + 1 after one of everything.

    One with an instant raises it only where the clock alone makes versions; elsewhere they are above F by themselves.
    """
    minimum = version + 1
    if issued_before is None:
        lead = minimum - math.floor(now)
        return standing._replace(
            minimum_version=minimum, minimum_ahead_seconds=lead if lead <= MINIMUM_AHEAD_MAX_SECONDS else 0
        )
    if minimum == issued_before and minimum > standing.minimum_version:
        return standing._replace(minimum_version=minimum, minimum_ahead_seconds=0)
    return standing


def _version_at(second: int, standing: ViewerRestriction) -> int:
    """The session version of a token issued at that second. One that was issued before the minimum was set has no more
    than its second, or a revocation of everything ends it."""
    if second <= standing.minimum_set_at or not standing.minimum_ahead_seconds:
        return second
    return session_version(second, standing.lowest_version(second))


def denied_until(now: float, max_staleness_seconds: float, issued_before: int | None, deny_seconds: int | None) -> int:
    """Until when the viewer gets no token.

    Unless the caller says how long: until every worker has heard, since before that a worker might sign a token that is
    ended already. A revocation of what is older than an instant spares the viewer's later tokens, so it denies none.
    """
    if deny_seconds is not None:
        return math.ceil(now) + deny_seconds if deny_seconds else 0
    return math.ceil(now + max_staleness_seconds) if issued_before is None else 0


def readmit_after(now: float, max_staleness_seconds: float, version: int, standing: ViewerRestriction) -> int:
    """From when on every worker gives tokens that the filter `version`, and those of earlier revocations, spare: all
    have read the standing, or even one that has not, and whose clock is behind, gives a higher version by then; and the
    denial is over. `standing` is the one after the revocation."""
    spared = min(now + max_staleness_seconds, max(version + 1 + CLOCK_SKEW_SECONDS, standing.minimum_version))
    return max(math.ceil(max(spared, now)), standing.denied_until)


def overall_state(states: Iterable[RevocationState]) -> RevocationState:
    """The state of a revocation from those of its parts: one that waits keeps it queued, one that failed fails it."""
    found = frozenset(states)
    return next(
        state
        for state in (RevocationState.QUEUED, RevocationState.FAILED, RevocationState.SENT, RevocationState.CANCELLED)
        if state in found
    )
