"""Leases on a manual clock."""

from __future__ import annotations

from tests.support.clocks import ManualClock
from tokensvc.deployment.leases import HeldLease


class ManualLeases:
    """`deployment.leases` in memory."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}

    def acquire(self, name: str, holder: str, seconds: float) -> bool:
        held = self._held.get(name)
        if held is not None and held[0] != holder and held[1] > self._clock.now():
            return False
        self._held[name] = (holder, self._clock.now() + seconds)
        return True

    def release(self, name: str, holder: str) -> None:
        if self._held.get(name, ("", 0))[0] == holder:
            del self._held[name]

    @property
    def unreleased(self) -> set[str]:
        """The names that were acquired and not released, even if they have expired."""
        return {*self._held}

    def held(self, name: str) -> HeldLease | None:
        holder, until = self._held.get(name, ("", 0.0))
        remaining = until - self._clock.now()
        return HeldLease(holder, remaining) if remaining > 0 else None

    def all_held(self, prefix: str) -> dict[str, HeldLease]:
        held = {name: self.held(name) for name in self._held if name.startswith(prefix)}
        return {name: lease for name, lease in held.items() if lease is not None}
