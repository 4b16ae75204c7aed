"""Pairs that IVS reported to this process as not found; two reports some seconds apart confirm an absence.

Invariants
- Absence from a list only raises the question: lists may lag, be cut short, or come from another endpoint.
- Only ResourceNotFound from GetPlaybackKeyPair for the pair's own ARN counts, in an inventory of a region in which IVS
  showed pairs of our account (`inventory.py`). Any other response, and any error, proves nothing.
- Two such responses confirm an absence if they are at least CONFIRM_SECONDS apart on the monotonic clock, and IVS did
  not show the pair in between.
- IVS is not asked again until a second response could confirm the absence: it allows 3 of these calls per second for
  the whole account. Whether the account was verified is part of a response.
- All this is held in memory: a process that starts, or takes over from another one, asks twice again.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

CONFIRM_SECONDS = 5.0
"""INFERRED: Replicas of IVS disagree for less than 5 seconds about a key pair that was imported long ago, so a pair
that is twice reported as not found, this far apart, has been deleted. AWS does not document it."""


class AbsenceTracker:
    """By ARN, when IVS reported the pair as not found. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        """When IVS first reported so in the verified account."""
        self._last: dict[tuple[str, bool], float] = {}
        """When IVS last reported so, by whether the account was verified."""
        self._confirmed: set[str] = set()

    def record_present(self, arn: str) -> None:
        """Record that IVS holds the pair."""
        self._first.pop(arn, None)
        self._last.pop((arn, True), None)
        self._last.pop((arn, False), None)
        self._confirmed.discard(arn)

    def should_ask(self, arn: str, monotonic: float, *, account_verified: bool) -> bool:
        """Whether to ask IVS about the pair now, rather than to use its last response."""
        return monotonic - self._last.get((arn, account_verified), -math.inf) >= CONFIRM_SECONDS

    def record_absent(self, arn: str, monotonic: float, *, account_verified: bool) -> None:
        """Record that IVS has just reported the pair as not found; `account_verified` if it showed our account."""
        self._last[arn, account_verified] = monotonic
        if account_verified and monotonic - self._first.setdefault(arn, monotonic) >= CONFIRM_SECONDS:
            self._confirmed.add(arn)

    def is_confirmed(self, arn: str) -> bool:
        """Whether the absence is confirmed."""
        return arn in self._confirmed

    def recheck_at(self, arn: str, monotonic: float, now: datetime) -> datetime:
        """When the next response may confirm the absence. Requires one in the verified account."""
        return now + timedelta(seconds=max(0.0, self._last[arn, True] + CONFIRM_SECONDS - monotonic))
