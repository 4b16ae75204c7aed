"""Which session versions a revocation ends, and which ones tokens carry afterwards.

Invariants
- A token's session version is max(second of issue, M), where M is the viewer's stored minimum. A revocation without
  `issuedBefore` and with filter F ends every version up to F and sets M = F + 1 in the same transaction. Tokens that a
  worker signs after it has read M stay valid; tokens that a worker signs before that are ended with the rest.
- While M is ahead of the clock, versions rise slowly above it (`ViewerRestriction.lowest_version`), so that they always
  rise with the time of issue, which is measured by the clock of the issuing worker.
- A revocation with `issuedBefore` ends the versions below the one that a token issued at that instant carries, and no
  others: it never ends a token that was issued later. An earlier revocation without `issuedBefore` is delivered with a
  filter of its own. M rises to F + 1 too, without a change to the versions of later tokens.
- M never decreases.
- `max_staleness_seconds` is the longest that a worker may serve from an outdated snapshot: the snapshot's lease, the
  store's timeout and the clock skew. A worker that has not read M by now + max_staleness signs nothing.
- F is always sent: IVS treats a missing filter as 0, which ends no token that carries a version.
- Time is the store's, read while the transaction holds the numbers that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import IntEnum, StrEnum

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.tokens.denylist import VERSION_STEP_SECONDS, ViewerRestriction, session_version


class RevocationState(StrEnum):
    """The delivery state of a revocation."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    """IVS rejected it permanently."""
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """Which of IVS's two operations an entry is sent with first."""

    INTERACTIVE = 0
    """Requested on its own, so somebody is waiting for it: sent with single calls."""
    BULK = 1
    """One of a batch: sent with batch calls."""


MINIMUM_AHEAD_MAX_SECONDS = 86_400
"""How far M may be ahead of the clock while versions still rise before the clock has caught up. Only a viewer that is
revoked hundreds of times within hours gets that far; beyond it each revocation takes one version instead of about a
hundred, so that versions stay within the range that IVS accepts."""


def versions_up_to(
    now: float, max_staleness_seconds: float, restriction: ViewerRestriction, issued_before: int | None = None
) -> int:
    """F: the highest session version to end.

    Without `issued_before`, F covers every version that a stale worker may still issue until now + max_staleness. With
    it, F covers every version below that of a token issued at that second under the restriction `restriction`.
    """
    if issued_before is None:
        last_second = math.floor(now + max_staleness_seconds)
        return session_version(last_second, restriction.lowest_version(last_second))
    return max(0, _version_at(issued_before, restriction) - 1)


def restriction_after(
    now: float, restriction: ViewerRestriction, version: int, issued_before: int | None = None
) -> ViewerRestriction:
    """The restriction with the minimum that a revocation with the filter `version` sets: F + 1 without `issued_before`.

    With `issued_before`, the minimum rises to F + 1 as well, where it is not above F already, so that it covers every
    version that was ended: sessions that `/authorize` has started are judged by it alone. New tokens carry the same
    versions as without it.
    """
    minimum = version + 1
    if issued_before is None:
        ahead_seconds = minimum - math.floor(now)
        return restriction._replace(
            minimum_version=minimum,
            minimum_ahead_seconds=ahead_seconds if ahead_seconds <= MINIMUM_AHEAD_MAX_SECONDS else 0,
        )
    steps = minimum - restriction.minimum_version
    if steps > 0 and minimum == issued_before:
        return restriction._replace(minimum_version=minimum, minimum_ahead_seconds=0)
    if steps > 0 and restriction.minimum_ahead_seconds:  # as if it had been set when versions reached it
        ahead_seconds = restriction.minimum_ahead_seconds - steps * (VERSION_STEP_SECONDS - 1)
        return restriction._replace(minimum_version=minimum, minimum_ahead_seconds=ahead_seconds)
    return restriction


def _version_at(second: int, restriction: ViewerRestriction) -> int:
    """The session version of a token issued at that second. A token that was issued before the minimum was set carries
    at most its second, or is ended by the revocation that set the minimum."""
    if second <= restriction.minimum_set_at or not restriction.minimum_ahead_seconds:
        return second
    return session_version(second, restriction.lowest_version(second))


def denied_until(now: float, max_staleness_seconds: float, issued_before: int | None, deny_seconds: int | None) -> int:
    """The Unix second until which the viewer is denied tokens; 0 for no denial.

    Without `deny_seconds`, the denial lasts until every worker is in sync, since a stale worker might sign a token that
    is already ended. A revocation with `issued_before` does not affect later tokens, so by default it denies none.
    """
    if deny_seconds is not None:
        return math.ceil(now) + deny_seconds if deny_seconds else 0
    return math.ceil(now + max_staleness_seconds) if issued_before is None else 0


def readmit_after(now: float, max_staleness_seconds: float, version: int, restriction: ViewerRestriction) -> int:
    """The Unix second from which every worker issues tokens above the filter `version` and above those of earlier
    revocations. By then all workers have read the restriction, or even a stale one whose clock is behind issues a
    higher version, and the denial has ended. `restriction` is the restriction after the revocation."""
    lowest_valid = max(version + 1, restriction.minimum_version)
    valid_from = min(now + max_staleness_seconds, lowest_valid + CLOCK_SKEW_SECONDS)
    return max(math.ceil(max(valid_from, now)), restriction.denied_until)


def overall_state(states: Iterable[RevocationState]) -> RevocationState:
    """The state of a revocation from those of its targets: queued while any is queued, else failed if any failed."""
    present = frozenset(states)
    return next(
        state
        for state in (RevocationState.QUEUED, RevocationState.FAILED, RevocationState.SENT, RevocationState.CANCELLED)
        if state in present
    )
