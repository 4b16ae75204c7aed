"""Forgets what is of no use any more: old entries of the journal, workers that are gone.

Rules of the file
- Any process may do it at any time, several at once too: each deletion says by itself what is old.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tokensvc.ports.clock import Clock
from tokensvc.ports.journal import Journal
from tokensvc.ports.workers import Workers

EVERY_SECONDS = 3600.0
JOURNAL_KEPT_DAYS = 90
"""How long one can see what was done with a key, and why."""

WORKERS_KEPT_SECONDS = 25 * 3600.0
"""A worker that was killed counts for so long: an hour more than the longest lease that settings allow, so that one
which is only cut off from the store has stopped signing before its lease is left out of the drain."""


class Prune:
    """One look a while."""

    def __init__(self, journal: Journal, workers: Workers, clock: Clock) -> None:
        self._journal = journal
        self._workers = workers
        self._clock = clock

    def once(self) -> None:
        """Forget. Raises StoreError."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        self._journal.prune(now - timedelta(days=JOURNAL_KEPT_DAYS))
        self._workers.forget(WORKERS_KEPT_SECONDS)
