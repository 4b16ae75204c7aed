"""What IVS answered to this process about pairs that it does not hold: two answers, some seconds apart, are a proof.

Invariants
- Absence from a list only raises the question: lists may lag, be cut short, or come from another endpoint.
- An answer counts only when it is ResourceNotFound from GetPlaybackKeyPair on the pair's own ARN, in a look at a region
  in which IVS showed pairs of our account (`survey.py`). Any other answer, and any failure, proves nothing.
- Two such answers prove absence when they lie CONFIRM_SECONDS apart on the monotonic clock, and IVS did not show the
  pair in between.
- What was just answered is not asked again until a second answer could be the proof: IVS takes 3 of these calls a
  second for the whole account. Whether the account was verified is part of the answer.
- It is kept in memory: a process that starts, or takes over from another one, asks twice again.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

CONFIRM_SECONDS = 5.0
"""INFERRED: longer than replicas of IVS disagree about a pair that has long been imported; not documented."""


class AbsenceTracker:
    """By ARN, the answers of IVS that it does not hold the pair. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        """When it first said so in the right account."""
        self._last: dict[tuple[str, bool], float] = {}
        """When it last said so, by whether the account was verified."""
        self._proven: set[str] = set()

    def record_present(self, arn: str) -> None:
        """IVS shows the pair."""
        self._first.pop(arn, None)
        self._last.pop((arn, True), None)
        self._last.pop((arn, False), None)
        self._proven.discard(arn)

    def should_ask(self, arn: str, monotonic: float, *, account_verified: bool) -> bool:
        """Whether IVS is to be asked about the pair, rather than that its last answer stands."""
        return monotonic - self._last.get((arn, account_verified), -math.inf) >= CONFIRM_SECONDS

    def record_absent(self, arn: str, monotonic: float, *, account_verified: bool) -> None:
        """IVS has just said that it does not hold the pair; `account_verified` when it showed our account."""
        self._last[arn, account_verified] = monotonic
        if account_verified and monotonic - self._first.setdefault(arn, monotonic) >= CONFIRM_SECONDS:
            self._proven.add(arn)

    def is_confirmed(self, arn: str) -> bool:
        """Whether IVS has said so twice."""
        return arn in self._proven

    def recheck_at(self, arn: str, monotonic: float, now: datetime) -> datetime:
        """When the next answer of IVS may be the proof, after one in the right account."""
        return now + timedelta(seconds=max(0.0, self._last[arn, True] + CONFIRM_SECONDS - monotonic))
