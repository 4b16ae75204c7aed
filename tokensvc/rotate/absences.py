"""What this process was told of pairs that IVS does not hold: two answers, some seconds apart, are a proof.

Invariants
- Absence from a list only raises the question: lists may lag, be cut short, or come from another endpoint.
- An answer counts only when it is ResourceNotFound from GetPlaybackKeyPair on the pair's own ARN, in a look at a region
  in which IVS showed pairs of our account (`survey.py`). Any other answer, and any failure, proves nothing.
- Two such answers prove absence when they lie CONFIRM_SECONDS apart on the monotonic clock, and IVS did not show the
  pair in between.
- It is kept in memory: a process that starts, or takes over from another one, asks twice again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

CONFIRM_SECONDS = 5.0
"""INFERRED: longer than replicas of IVS disagree about a pair that has long been imported; not documented."""


class Absences:
    """By ARN, when IVS first said that it does not hold the pair."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def seen(self, arn: str) -> None:
        """IVS shows the pair."""
        self._since.pop(arn, None)

    def confirm(self, arn: str, monotonic: float) -> bool:
        """IVS says that it does not hold the pair; whether that is proven now."""
        return monotonic - self._since.setdefault(arn, monotonic) >= CONFIRM_SECONDS

    def recheck_at(self, arn: str, monotonic: float, now: datetime) -> datetime:
        """When the next such answer may be the proof."""
        return now + timedelta(seconds=max(0.0, self._since[arn] + CONFIRM_SECONDS - monotonic))
