"""Who may do a thing that only one may do at a time, on the store's clock.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class HeldLease(NamedTuple):
    """A lease that runs."""

    holder: str
    seconds_left: float


class Leases(Protocol):
    """Named leases, each held by at most one holder. Granted by compare-and-set."""

    def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Take the lease, or prolong it when `holder` has it; False when another holds it still."""
        ...

    def release(self, name: str, holder: str) -> None:
        """Give the lease up; nothing happens when `holder` does not have it."""
        ...

    def held(self, name: str) -> HeldLease | None:
        """Who holds the lease now, if anyone."""
        ...

    def all_held(self, prefix: str) -> dict[str, HeldLease]:
        """Who holds which lease now, of those whose names begin so."""
        ...
