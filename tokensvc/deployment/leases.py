"""Leases: exclusive, time-limited rights that processes take in the store, on the store's clock.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class HeldLease(NamedTuple):
    """A lease that has not expired."""

    holder: str
    seconds_left: float


class Leases(Protocol):
    """Named leases, each with at most one holder at a time. Granted by compare-and-set."""

    def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Take the lease for `seconds`, or renew it when `holder` has it. Returns False while another holds it."""
        ...

    def release(self, name: str, holder: str) -> None:
        """Release the lease. Does nothing when `holder` does not have it."""
        ...

    def held(self, name: str) -> HeldLease | None:
        """The lease as it is held now; None when nobody holds it."""
        ...

    def all_held(self, prefix: str) -> dict[str, HeldLease]:
        """The leases held now whose names start with `prefix`, by name."""
        ...
