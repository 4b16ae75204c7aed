"""Forgets what is of no use any more: old entries of the journal, rotations asked for long ago, workers that are gone,
revocations that ended long ago, denials that are over.

Rules of the file
- Any process may do it at any time, several at once too: each deletion says by itself what is old.
- What may be many is forgotten a few at a time, so that nobody waits long for what a deletion holds.
- Age is reckoned by the store's clock, which dated what is deleted: a process whose own clock is ahead would delete
  denials that are in force.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tokensvc.ports.denials import Denials
from tokensvc.ports.journal import Journal
from tokensvc.ports.revocations import Revocations
from tokensvc.ports.rotations import Rotations
from tokensvc.ports.versions import Versions
from tokensvc.ports.workers import Workers

EVERY_SECONDS = 3600.0
JOURNAL_KEPT_DAYS = 90
"""How long one can see what was done with a key, and why, and who asked for it. A rotation that could not be made in
all that time is given up."""

WORKERS_KEPT_SECONDS = 25 * 3600.0
"""A worker that was killed counts for so long: an hour more than the longest lease that settings allow, so that one
which is only cut off from the store has stopped signing before its lease is left out of the drain."""

REVOCATIONS_KEPT_DAYS = 90
"""How long one can see who was revoked, and what became of it."""

DENIALS_KEPT_SECONDS = 3600.0
"""After a denial is over nobody needs it; the hour is for clocks, which are a few seconds apart at most."""

AT_ONCE = 1000


class Prune:
    """One look a while."""

    def __init__(
        self,
        journal: Journal,
        rotations: Rotations,
        workers: Workers,
        revocations: Revocations,
        denials: Denials,
        versions: Versions,
    ) -> None:
        self._journal = journal
        self._rotations = rotations
        self._workers = workers
        self._revocations = revocations
        self._denials = denials
        self._versions = versions

    def once(self) -> None:
        """Forget. Raises StoreError."""
        now = datetime.fromtimestamp(self._versions.read().now, UTC)
        self._journal.prune(now - timedelta(days=JOURNAL_KEPT_DAYS))
        self._rotations.prune(now - timedelta(days=JOURNAL_KEPT_DAYS))
        self._workers.forget(WORKERS_KEPT_SECONDS)
        _all(self._revocations.prune, now - timedelta(days=REVOCATIONS_KEPT_DAYS))
        _all(self._denials.prune, now - timedelta(seconds=DENIALS_KEPT_SECONDS))


def _all(prune: Callable[[datetime, int], int], before: datetime) -> None:
    while prune(before, AT_ONCE) == AT_ONCE:
        pass
