"""What a worker knows: the only thing that the hot path reads.

Rules of the file
- A snapshot never changes; the refresh swaps a new one in whole, about once a second. Only `denied` goes on: there may
  be a million of them, so each snapshot shares the one map, and every change in it is whole by itself.
- A snapshot is a lease: older than the lease, or taken with a clock that is off the store's, it signs nothing more.
- Nor does it when the wall clock has moved against the monotonic one since the store confirmed it: tokens, denials and
  expiries are reckoned by the wall clock, and the next refresh may be as far away as the lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from tokensvc.callers.api_keys import KnownSecret
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.errors import SnapshotStale
from tokensvc.tokens.denylist import Denylist
from tokensvc.tokens.keyring import EMPTY_KEYRING, Keyring


class KnownChannel(NamedTuple):
    """A channel of the directory. `playback_url` is None when IVS says that there is no such channel; no snapshot holds
    such a one."""

    playback_url: str | None
    authorized: bool
    checked_at: datetime


class Snapshot(NamedTuple):
    """Everything that issuing needs, as it was at one instant."""

    keyring: Keyring = EMPTY_KEYRING
    secrets: Mapping[str, KnownSecret] = {}
    """By the key's public id. Disabled callers are not in it."""
    channels: Mapping[str, KnownChannel] = {}
    denylist: Denylist = Denylist()
    """Who gets no token, or only from a session version on."""
    subject_key: bytes = b""
    """Empty: the store has lost it, and no token is issued by subject."""
    max_ttl_seconds: int = 0
    """0: the store's cannot be read, and no token is issued."""
    damage: tuple[str, ...] = ()
    """The store's rows that cannot be read and are left out, each in words."""
    refresh_started_at: float = float("-inf")
    """When the refresh that made it began, on this worker's monotonic clock."""
    clock_error_seconds: float = 0.0
    """How far this worker's wall clock was ahead of the store's when the refresh began."""
    wall_offset_seconds: float = 0.0
    """How far this worker's wall clock was ahead of its monotonic clock at the same moment."""

    @property
    def store_offset_seconds(self) -> float:
        """How far the store's clock is ahead of this worker's monotonic clock."""
        return self.wall_offset_seconds - self.clock_error_seconds

    def __repr__(self) -> str:
        return f"Snapshot(refresh_started_at={self.refresh_started_at}, clock_error_seconds={self.clock_error_seconds})"


def require_fresh(snapshot: Snapshot, now: float, monotonic: float, lease_seconds: float) -> None:
    """Raise SnapshotStale, saying why, unless the snapshot's lease still runs and the clock can be trusted. `now` and
    `monotonic` must be read together, and `now` be what is acted on afterwards: another reading may be of a clock that
    has jumped meanwhile."""
    if monotonic - snapshot.refresh_started_at > lease_seconds:
        raise SnapshotStale("this worker has not reached its store for longer than its lease allows")
    moved = now - monotonic - snapshot.wall_offset_seconds
    if abs(moved) > CLOCK_SKEW_SECONDS:
        raise SnapshotStale(
            f"this worker's clock jumped by {moved:+.0f} seconds since the store last confirmed it; "
            f"at most {CLOCK_SKEW_SECONDS} are allowed"
        )
    if abs(moved + snapshot.clock_error_seconds) > CLOCK_SKEW_SECONDS:
        raise SnapshotStale(
            f"this worker's clock is {moved + snapshot.clock_error_seconds:+.0f} seconds off the store's; "
            f"at most {CLOCK_SKEW_SECONDS} are allowed"
        )
