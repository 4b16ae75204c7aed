"""Clocks that tests control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from tokensvc.deployment.versions import StoreVersions, Version, Versioned, Versions
from tokensvc.tokens.snapshot import Snapshot, require_fresh

START = 1_800_000_000.0
"""15 January 2027, 08:00 UTC."""
MONOTONIC_START = 1000.0
OFFSET = START - MONOTONIC_START
"""How far the wall clock is ahead of the monotonic one, as long as it does not jump."""


class ManualClock:
    """Both clocks of a machine; they stand still until a test advances them."""

    def __init__(self, now: float = START, monotonic: float = MONOTONIC_START) -> None:
        self.wall = now
        self._monotonic = monotonic

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall += seconds
        self._monotonic += seconds

    def at(self) -> datetime:
        """The wall clock as a datetime."""
        return datetime.fromtimestamp(self.wall, UTC)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an administrator or a time server does; the monotonic clock is unaffected."""
        self.wall += seconds


def require_fresh_at(snapshot: Snapshot, monotonic: float, lease_seconds: float) -> None:
    """`require_fresh` at this reading of the monotonic clock, with a wall clock that has not jumped."""
    require_fresh(snapshot, monotonic + snapshot.wall_offset_seconds, monotonic, lease_seconds)


class AtTime:
    """A store's versions, with a different reading of its clock."""

    def __init__(self, versions: Versions, now: Callable[[], float]) -> None:
        self._versions = versions
        self._now = now

    def read(self) -> StoreVersions:
        return self._versions.read()._replace(now=self._now())

    def check_history(self, seen: Mapping[Versioned, Version]) -> None:
        self._versions.check_history(seen)
