"""Deletes rows past their retention: old journal entries, rotation requests and revocations, workers that are gone,
expired denials, spent single uses, audit records, and channels that no longer exist.

Invariants
- Any process may prune at any time, also several concurrently: each deletion selects by itself what is old enough.
- Rows that may be many are deleted in batches with a pause after each, so that nobody waits long for locks.
- The row of a channel that no longer exists is deleted only when every worker has had ABSENCE_RETENTION_SECONDS to
  read it. This process's monotonic clock measures the time from when it saw the row's change number.
- Age is measured by the store's clock, which also set the timestamps: a process whose own clock is ahead would delete
  denials that are still in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tokensvc.audit.store import AuditStore
from tokensvc.clock import Clock
from tokensvc.deployment.versions import Version, Versions
from tokensvc.deployment.workers import Workers
from tokensvc.errors import StoreReplaced
from tokensvc.keys.store import Journal, RotationRequestStore
from tokensvc.revocations.store import DenialStore, RevocationStore
from tokensvc.tokens.channels import ABSENCE_RETENTION_SECONDS, ChannelStore
from tokensvc.tokens.playback_session import RESTRICTION_RETENTION_SECONDS
from tokensvc.tokens.single_uses import RETENTION_SECONDS as SINGLE_USE_RETENTION_SECONDS
from tokensvc.tokens.single_uses import SingleUseStore

INTERVAL_SECONDS = 3600.0
JOURNAL_RETENTION_DAYS = 90
"""How long the journal of key operations and the rotation requests are kept. A rotation that could not be completed in
this time is given up."""

WORKER_RETENTION_SECONDS = 25 * 3600.0
"""How long a worker that was killed is still counted: an hour more than the longest lease that settings allow, so that
a worker that is only cut off from the store has stopped signing before drain times no longer include its lease."""

REVOCATION_RETENTION_DAYS = 90
"""How long finished revocations are kept."""

DENIAL_RETENTION_SECONDS = 3600.0 + RESTRICTION_RETENTION_SECONDS
"""How long a denial is kept after it expired: as long as a session may last that it ends, and an hour, since clocks
differ by a few seconds at most."""

DELETE_BATCH_SIZE = 1000
PAUSE_SECONDS = 0.02
"""The pause after each batch."""

ABSENCE_MIN_AGE_SECONDS = 600.0
"""The row of a channel that does not exist is kept if it was checked within this time: the channel may still be
requested."""


class Prune:
    """Runs all deletions."""

    def __init__(
        self,
        *,
        journal: Journal,
        rotation_requests: RotationRequestStore,
        workers: Workers,
        revocations: RevocationStore,
        denials: DenialStore,
        channels: ChannelStore,
        single_uses: SingleUseStore,
        audit: AuditStore,
        audit_retention_days: int,
        versions: Versions,
        clock: Clock,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._rotation_requests = rotation_requests
        self._workers = workers
        self._revocations = revocations
        self._denials = denials
        self._channels = channels
        self._single_uses = single_uses
        self._audit = audit
        self._audit_retention = timedelta(days=audit_retention_days)
        self._versions = versions
        self._clock = clock
        self._pause = pause
        self._noted: tuple[float, Version] | None = None
        """When the `channels` version was last noted, on the monotonic clock, and the version."""

    def run_once(self) -> float | None:
        """Delete what is past its retention. Returns after how many seconds to run again; None for the usual interval.
        Raises StoreError."""
        now = datetime.fromtimestamp(self._versions.read().now, UTC)
        self._journal.prune(now - timedelta(days=JOURNAL_RETENTION_DAYS))
        self._rotation_requests.prune(now - timedelta(days=JOURNAL_RETENTION_DAYS))
        self._workers.remove_unresponsive(WORKER_RETENTION_SECONDS)
        self._in_batches(self._revocations.prune, now - timedelta(days=REVOCATION_RETENTION_DAYS))
        self._in_batches(self._denials.prune, now - timedelta(seconds=DENIAL_RETENTION_SECONDS))
        self._in_batches(self._single_uses.prune, now - timedelta(seconds=SINGLE_USE_RETENTION_SECONDS))
        self._in_batches(self._audit.prune, now - self._audit_retention)
        return self._prune_channels(now)

    def _prune_channels(self, now: datetime) -> float | None:
        """Delete the rows of channels that no longer exist. The first run only notes the version to compare with."""
        monotonic, version = self._clock.monotonic(), self._versions.read().channels
        if self._noted is None or self._was_restored(self._noted[1]):
            self._noted = monotonic, version
            return ABSENCE_RETENTION_SECONDS
        noted_at, noted = self._noted
        if monotonic - noted_at < ABSENCE_RETENTION_SECONDS:
            return noted_at + ABSENCE_RETENTION_SECONDS - monotonic
        self._noted = monotonic, version
        checked_before = now - timedelta(seconds=ABSENCE_MIN_AGE_SECONDS)
        self._in_batches(lambda before, limit: self._channels.prune(noted.number, before, limit), checked_before)
        return None

    def _was_restored(self, noted: Version) -> bool:
        """Whether a backup was restored since: the same change number may stand for other rows then."""
        try:
            self._versions.check_history({"channels": noted})
        except StoreReplaced:
            return True
        return False

    def _in_batches(self, prune: Callable[[datetime, int], int], before: datetime) -> None:
        while prune(before, DELETE_BATCH_SIZE) == DELETE_BATCH_SIZE:
            self._pause(PAUSE_SECONDS)
