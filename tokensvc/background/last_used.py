"""When each API key was last used, written to the store off the hot path.

Invariants
- A request costs one store into a dict: `record` is called for every authenticated request and takes no lock.
- Times are rounded down to the minute, and written about once a minute and when the process stops. A process that is
  killed loses up to a minute of them.
- A use that could not be written is written by a later run, unless the key was used again since.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tokensvc.callers.store import CallerStore, LastUse
from tokensvc.errors import StoreError

INTERVAL_SECONDS = 60.0
BATCH_SIZE = 500
"""Keys in one transaction."""


class LastUses:
    """The last uses of API keys in this process that are not yet written."""

    def __init__(self, callers: CallerStore) -> None:
        self._callers = callers
        self._uses: dict[str, tuple[float, str]] = {}

    def record(self, key_id: str, now: float, address: str) -> None:
        """Note that this key was used at this time, in Unix seconds, by a client with this address."""
        self._uses[key_id] = (now, address)

    def run_once(self) -> None:
        """Write what was noted until now. Raises StoreError."""
        pending = len(self._uses)  # requests may add more meanwhile
        while pending > 0:
            size = min(pending, BATCH_SIZE)
            batch = dict(self._uses.popitem() for _ in range(size))
            pending -= size
            try:
                self._callers.record_last_uses(
                    {key: LastUse(_minute(now), address) for key, (now, address) in sorted(batch.items())}
                )
            except StoreError:
                for key, use in batch.items():
                    self._uses.setdefault(key, use)
                raise

    def stop(self) -> None:
        """Write the rest when the process stops. Raises StoreError."""
        self.run_once()


def _minute(now: float) -> datetime:
    return datetime.fromtimestamp(now - now % 60, UTC)
