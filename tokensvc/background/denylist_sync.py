"""Keeps what a worker holds of denials current: all of them once, then what changed, by change number.

Rules of the file
- Whoever refreshes the snapshot does this too, and the snapshot is fresh only when it is done: a worker that cannot
  hear of denials stops signing when its lease ends, as R says.
- Changes are read and applied in slices, with a pause after each: the thread that signs waits for none longer than a
  slice takes, and a million of them are loaded beside it.
- What is over is forgotten by the store's clock, and only when it is over for every clock that a worker may have. If
  the store's clock is set back, what was forgotten too early is loaded again.
- After a restore of the store everything is loaded anew, beside what is in use, and swapped in whole when it is
  complete: until then the old denials are in force.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.deployment.versions import ChangePage, Position, StoreVersions
from tokensvc.log import structlog
from tokensvc.revocations.denial_store import DenialStore, RestrictionRow
from tokensvc.tokens.denylist import Denylist

SLICE_ROWS = 100
"""Read and applied at once: about a millisecond's work."""
PAUSE_SECONDS = 0.001
DAMAGED_RELOAD_SECONDS = 60.0
"""How often everything is read anew while a row cannot be read: one that is repaired by hand has its old number."""

_log = structlog.get_logger(__name__)


class DenylistSync:
    """The one writer of a worker's `Denylist`."""

    def __init__(self, denials: DenialStore, pause: Callable[[float], None] = time.sleep) -> None:
        self.denylist = Denylist()
        self._denials = denials
        self._pause = pause
        self._loading = self.denylist
        """What changes are applied to: what is in use, or its successor while everything is loaded anew."""
        self.position = Position()
        """How far `_loading` has come."""
        self._began_at = -math.inf
        """When everything was last begun to be read, on the store's clock."""
        self.damaged: dict[str, str] = {}
        """By name, why a row cannot be read."""
        self._latest_now = -math.inf
        """The latest reading of the store's clock by which anything was forgotten."""

    def reset(self) -> None:
        """Let the next `catch_up` load everything anew."""
        self._loading, self.position, self._latest_now = Denylist(), Position(), -math.inf
        self.damaged = {}

    def catch_up(self, versions: StoreVersions) -> None:
        """Take in every change up to this reading of the store. Raises StoreError, and what was read until then stays;
        StoreReplaced when what was read is not part of the store's history: then `start_over` is called for."""
        if versions.now < self._latest_now - CLOCK_SKEW_SECONDS:
            _log.warning("the store's clock was set back; all denials are read anew")
            self.reset()
        if self.damaged and versions.now >= self._began_at + DAMAGED_RELOAD_SECONDS:
            self.reset()
        if self.position == Position():
            self._began_at = versions.now
        self._latest_now = max(self._latest_now, versions.now)
        # One for a worker's clock that is behind the store's, one for the step back that is tolerated above.
        now = versions.now - 2 * CLOCK_SKEW_SECONDS
        while self.position.history != versions.denials or self.position.number < versions.denials.number:
            page = self._next_page(now)
            if page.is_last or page.position.number >= versions.denials.number:  # the store may be ahead of the reading
                break
        self.denylist = self._loading
        self.denylist.sweep(now)

    def _next_page(self, now: float) -> ChangePage[RestrictionRow]:
        page = self._denials.changed_since(self.position, SLICE_ROWS)
        for start in range(0, len(page.rows), SLICE_ROWS):
            self._loading.apply([(r.digest, r.standing) for r in page.rows[start : start + SLICE_ROWS]], now)
            self._pause(PAUSE_SECONDS)
        if self.damaged or page.damaged:
            sound = {row.digest.hex() for row in page.rows}
            self.damaged = {name: why for name, why in self.damaged.items() if name not in sound} | dict(page.damaged)
        self.position = page.position
        return page
