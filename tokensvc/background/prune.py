"""Forgets what is of no use any more: old entries of the journal, rotations asked for long ago, workers that are gone,
revocations that ended long ago, denials that are over, channels that are gone.

Rules of the file
- Any process may do it at any time, several at once too: each deletion says by itself what is old.
- What may be many is deleted in slices with a pause after each, so that nobody waits long for what a deletion holds.
- A channel that is gone is deleted when every worker could read that it is: when the change number under which that was
  written had been reached ABSENCE_RETENTION_SECONDS ago, by this process's monotonic clock, whatever the other clocks say.
- Age is reckoned by the store's clock, which dated what is deleted: a process whose own clock is ahead would delete
  denials that are in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tokensvc.clock import Clock
from tokensvc.deployment.versions import Version, Versions
from tokensvc.deployment.workers import Workers
from tokensvc.errors import StoreReplaced
from tokensvc.keys.journal import Journal
from tokensvc.keys.rotation_requests import RotationRequestStore
from tokensvc.revocations.denial_store import DenialStore
from tokensvc.revocations.store import RevocationStore
from tokensvc.tokens.channels import ABSENCE_RETENTION_SECONDS, ChannelStore

INTERVAL_SECONDS = 3600.0
JOURNAL_RETENTION_DAYS = 90
"""How long one can see what was done with a key, and why, and who asked for it. A rotation that could not be made in
all that time is given up."""

WORKER_RETENTION_SECONDS = 25 * 3600.0
"""A worker that was killed counts for so long: an hour more than the longest lease that settings allow, so that one
which is only cut off from the store has stopped signing before its lease is left out of the drain."""

REVOCATION_RETENTION_DAYS = 90
"""How long one can see who was revoked, and what became of it."""

DENIAL_RETENTION_SECONDS = 3600.0
"""After a denial is over nobody needs it; the hour is for clocks, which are a few seconds apart at most."""

DELETE_BATCH_SIZE = 1000
PAUSE_SECONDS = 0.02
"""After each slice."""

ABSENCE_MIN_AGE_SECONDS = 600.0
"""A channel that is gone and was looked at so lately may still be asked for."""


class Prune:
    """One look a while."""

    def __init__(
        self,
        *,
        journal: Journal,
        rotations: RotationRequestStore,
        workers: Workers,
        revocations: RevocationStore,
        denials: DenialStore,
        channels: ChannelStore,
        versions: Versions,
        clock: Clock,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._rotations = rotations
        self._workers = workers
        self._revocations = revocations
        self._denials = denials
        self._channels = channels
        self._versions = versions
        self._clock = clock
        self._pause = pause
        self._seen: tuple[float, Version] | None = None
        """When the `channels` version was looked at, on the monotonic clock, and what it was."""

    def run_once(self) -> float | None:
        """Forget; in how many seconds to come again, None being the usual. Raises StoreError."""
        now = datetime.fromtimestamp(self._versions.read().now, UTC)
        self._journal.prune(now - timedelta(days=JOURNAL_RETENTION_DAYS))
        self._rotations.prune(now - timedelta(days=JOURNAL_RETENTION_DAYS))
        self._workers.remove_unresponsive(WORKER_RETENTION_SECONDS)
        self._all(self._revocations.prune, now - timedelta(days=REVOCATION_RETENTION_DAYS))
        self._all(self._denials.prune, now - timedelta(seconds=DENIAL_RETENTION_SECONDS))
        return self._prune_channels(now)

    def _prune_channels(self, now: datetime) -> float | None:
        """Delete the rows of channels that are gone. The first time only the version to go by is noted."""
        monotonic, version = self._clock.monotonic(), self._versions.read().channels
        if self._seen is None or self._is_of_another_history(self._seen[1]):
            self._seen = monotonic, version
            return ABSENCE_RETENTION_SECONDS
        noted_at, seen = self._seen
        if monotonic - noted_at < ABSENCE_RETENTION_SECONDS:
            return noted_at + ABSENCE_RETENTION_SECONDS - monotonic
        self._seen = monotonic, version
        checked_before = now - timedelta(seconds=ABSENCE_MIN_AGE_SECONDS)
        self._all(lambda before, limit: self._channels.prune(seen.number, before, limit), checked_before)
        return None

    def _is_of_another_history(self, seen: Version) -> bool:
        """Whether a backup was restored since: what a number stood for then says nothing of the rows that have it."""
        try:
            self._versions.check_history({"channels": seen})
        except StoreReplaced:
            return True
        return False

    def _all(self, prune: Callable[[datetime, int], int], before: datetime) -> None:
        while prune(before, DELETE_BATCH_SIZE) == DELETE_BATCH_SIZE:
            self._pause(PAUSE_SECONDS)
