"""Keeps what a worker holds of denials current: all of them once, then what changed, by change number.

Rules of the file
- Whoever refreshes the snapshot does this too, and the snapshot is fresh only when it is done: a worker that cannot
  hear of denials stops signing when its lease ends, as R says.
- Changes are read and applied in slices, with a pause after each: the thread that signs waits for none longer than a
  slice takes, and a million of them are loaded beside it.
- What is over is forgotten by the store's clock, and only when it is over for every clock that a worker may have.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tokensvc.core.denied import Denied
from tokensvc.core.snapshot import CLOCK_SKEW_SECONDS
from tokensvc.ports.denials import Denials
from tokensvc.ports.versions import StoreVersions

SLICE_ROWS = 100
"""Read and applied at once: about a millisecond's work."""
PAUSE_SECONDS = 0.001


class DenialNews:
    """The one writer of a worker's `Denied`."""

    def __init__(self, denials: Denials, pause: Callable[[float], None] = time.sleep) -> None:
        self.denied = Denied()
        self._denials = denials
        self._pause = pause
        self._seen = 0
        """The change number up to which everything is known."""

    def catch_up(self, versions: StoreVersions) -> None:
        """Take in every change up to this reading of the store. Raises StoreError; what was read until then stays."""
        now = versions.now - CLOCK_SKEW_SECONDS
        if versions.denials < self._seen:  # the store is a restored copy of an older one, and counts from there
            self._seen = 0
        while self._seen < versions.denials:
            rows = self._denials.changed_since(self._seen, SLICE_ROWS)
            for start in range(0, len(rows), SLICE_ROWS):
                self.denied.apply([(row.digest, row.standing) for row in rows[start : start + SLICE_ROWS]], now)
                self._pause(PAUSE_SECONDS)
            # Rows that ended are deleted, so the last numbers may have none.
            self._seen = rows[-1].number if rows else versions.denials
        self.denied.sweep(now)
