"""A worker's snapshot of the store: the only state that the hot path reads.

Invariants
- A snapshot is immutable; the refresh replaces it as a whole, about once a second. Only `denylist` is shared between
  snapshots and keeps changing: it may hold a million entries, and each change to it is atomic.
- A snapshot is a lease: nothing is signed with one that is older than the lease, or that was taken while the worker's
  clock differed from the store's.
- Nor is anything signed when the wall clock has moved against the monotonic clock since the store confirmed it: tokens,
  denials and expiry times depend on the wall clock, and the next refresh may be as far away as the lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from tokensvc.callers.api_keys import KnownSecret
from tokensvc.callers.policy import Caller
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.errors import SnapshotStale
from tokensvc.tokens.denylist import Denylist
from tokensvc.tokens.keyring import EMPTY_KEYRING, Keyring


class KnownChannel(NamedTuple):
    """A channel as IVS last described it. `playback_url` is None when IVS reported that the channel does not exist;
    snapshots hold existing channels only."""

    playback_url: str | None
    authorized: bool
    checked_at: datetime


class Snapshot(NamedTuple):
    """Everything that issuing a token needs, as of one instant."""

    keyring: Keyring = EMPTY_KEYRING
    secrets: Mapping[str, KnownSecret] = {}
    """API keys by their public id; those of disabled callers are marked."""
    bearers: Mapping[tuple[str, str], Caller] = {}
    """The viewer apps that are not disabled, by the issuer and audience of their bearer tokens."""
    cors_origins: Mapping[str, tuple[str, ...]] = {}
    """By caller, the origins of its policy whose pages may use its credentials; callers without any, and disabled ones,
    are left out. The same object until a caller changes."""
    channels: Mapping[str, KnownChannel] = {}
    denylist: Denylist = Denylist()
    """The viewers that are denied, or need a minimum session version."""
    subject_key: bytes = b""
    """Empty when the store has lost it; no token is issued by subject then."""
    max_ttl_seconds: int = 0
    """0 when it cannot be read from the store; no token is issued then."""
    damage: tuple[str, ...] = ()
    """A description of each row of the store that cannot be read and is left out."""
    refresh_started_at: float = float("-inf")
    """When the refresh that made this snapshot started, on this worker's monotonic clock."""
    clock_error_seconds: float = 0.0
    """How far this worker's wall clock was ahead of the store's when the refresh started."""
    wall_offset_seconds: float = 0.0
    """How far this worker's wall clock was ahead of its monotonic clock at that time."""

    @property
    def store_offset_seconds(self) -> float:
        """How far the store's clock is ahead of this worker's monotonic clock."""
        return self.wall_offset_seconds - self.clock_error_seconds

    def __repr__(self) -> str:
        return f"Snapshot(refresh_started_at={self.refresh_started_at}, clock_error_seconds={self.clock_error_seconds})"


def require_fresh(snapshot: Snapshot, now: float, monotonic: float, lease_seconds: float) -> None:
    """Raise SnapshotStale with the reason unless the snapshot's lease is still running and the clock can be trusted.

    Read `now` and `monotonic` together, and use this `now` for everything that follows: a later reading may come from a
    clock that has jumped in between.
    """
    if monotonic - snapshot.refresh_started_at > lease_seconds:
        raise SnapshotStale("this worker has not reached the store for longer than its lease allows")
    moved = now - monotonic - snapshot.wall_offset_seconds
    if abs(moved) > CLOCK_SKEW_SECONDS:
        raise SnapshotStale(
            f"this worker's clock jumped by {moved:+.0f} seconds since the store last confirmed it; "
            f"at most {CLOCK_SKEW_SECONDS} are allowed"
        )
    if abs(moved + snapshot.clock_error_seconds) > CLOCK_SKEW_SECONDS:
        raise SnapshotStale(
            f"this worker's clock differs from the store's by {moved + snapshot.clock_error_seconds:+.0f} seconds; "
            f"at most {CLOCK_SKEW_SECONDS} are allowed"
        )
