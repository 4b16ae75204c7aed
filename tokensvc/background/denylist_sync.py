"""Keeps a worker's denylist in sync with the store: loads all denials once, then reads changes by change number.

Invariants
- The snapshot's refresh calls this, and the snapshot counts as fresh only when it is done: a worker that cannot read
  denials stops signing when its lease ends, as max_staleness promises.
- Changes are read and applied in slices with a pause after each: the signing thread waits for one slice at most, even
  while a million denials are loaded.
- Denials expire by the store's clock, and are removed only when they have expired by any clock that a worker may have.
  If the store's clock is set back, denials that were removed too early are loaded again.
- With `retention_seconds`, restrictions are kept for that much longer: a minimum session version has no effect on new
  tokens once the clock has reached it, but it still ends the sessions that older tokens have started.
- After the store was restored, all denials are loaded into a new denylist, which replaces the old one when it is
  complete: until then the old denials stay in force.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.versions import ChangePage, Position, StoreVersions
from tokensvc.log import structlog
from tokensvc.revocations.store import DenialStore, RestrictionRow
from tokensvc.tokens.denylist import Denylist

SLICE_ROWS = 100
"""The changes that are read and applied without a pause: about a millisecond's work."""
PAUSE_SECONDS = 0.001
DAMAGED_RELOAD_SECONDS = 60.0
"""How often all denials are reloaded while a row cannot be read: a row that is repaired by hand keeps its number."""

_log = structlog.get_logger(__name__)


class DenylistSync:
    """The one writer of a worker's `Denylist`."""

    def __init__(
        self, denials: DenialStore, pause: Callable[[float], None] = time.sleep, *, retention_seconds: float = 0.0
    ) -> None:
        self.denylist = Denylist()
        self._denials = denials
        self._pause = pause
        self._retention_seconds = retention_seconds
        self._loading = self.denylist
        """The denylist that changes are applied to: the one in use, or its successor during a reload."""
        self.position = Position()
        """How far `_loading` has been read."""
        self._reload_started_at = -math.inf
        """When the last reload started, on the store's clock."""
        self.damaged: dict[str, str] = {}
        """By digest, why a row cannot be read."""
        self._latest_store_time = -math.inf
        """The latest time of the store's clock by which entries were removed."""

    def reset(self) -> None:
        """Make the next `catch_up` reload all denials."""
        self._loading, self.position, self._latest_store_time = Denylist(), Position(), -math.inf
        self.damaged = {}

    def catch_up(self, versions: StoreVersions) -> None:
        """Apply every change up to these versions. Raises StoreError, and keeps what was read until then; StoreReplaced
        when what was read is not part of the store's history: call `reset` then."""
        if versions.now < self._latest_store_time - CLOCK_SKEW_SECONDS:
            _log.warning("the store's clock was set back; reloading all denials")
            self.reset()
        if self.damaged and versions.now >= self._reload_started_at + DAMAGED_RELOAD_SECONDS:
            self.reset()
        if self.position == Position():
            self._reload_started_at = versions.now
        self._latest_store_time = max(self._latest_store_time, versions.now)
        # One skew for a worker's clock that is behind the store's, one for the step back that is tolerated above.
        now = versions.now - 2 * CLOCK_SKEW_SECONDS - self._retention_seconds
        while self.position.history != versions.denials or self.position.number < versions.denials.number:
            page = self._next_page(now)
            if page.is_last or page.position.number >= versions.denials.number:  # the store may be ahead of `versions`
                break
        self.denylist = self._loading
        self.denylist.sweep(now)

    def _next_page(self, now: float) -> ChangePage[RestrictionRow]:
        page = self._denials.changed_since(self.position, SLICE_ROWS)
        for start in range(0, len(page.rows), SLICE_ROWS):
            self._loading.apply([(r.digest, r.restriction) for r in page.rows[start : start + SLICE_ROWS]], now)
            self._pause(PAUSE_SECONDS)
        if self.damaged or page.damaged:
            readable = {row.digest.hex() for row in page.rows}
            damaged = {name: reason for name, reason in self.damaged.items() if name not in readable}
            self.damaged = damaged | dict(page.damaged)
        self.position = page.position
        return page
