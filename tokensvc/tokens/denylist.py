"""Every viewer that is denied, or let in only from a session version on: what one worker holds of them.

Rules of the file
- One thread writes (the refresh), any number read: a reader sees an entry as it was or as it is, never half of it.
- Nothing takes long: a slice of SLICE_ROWS changes and one step of `sweep` each end within 5 ms, so that whoever shares
  the interpreter is not kept waiting. The writer pauses between slices.
- Entries end by themselves: what is over is passed over by a look-up at once, and forgotten by a sweep later.
- Where nobody is denied, asking costs next to nothing: most deployments are so most of the time.

What stands between one viewer and a token: until when it is denied, and from which session version on it is let in.

Rules of the file
- A viewer is known by a digest of (channel, viewer id), so that nobody who reads a worker's memory or the store's table
  of denials reads viewer ids. The channel's length is part of what is hashed: no two pairs are spelled alike.
- All facts are one integer, so that the hot path looks up one thing.
- Versions of one viewer rise with the time of issue, or `issuedBefore` could not select them: while a minimum version
  is ahead of the clock, versions rise by one every VERSION_STEP_SECONDS until the clock has caught up.
- A fact is over once the clock has reached it: a denial because it ends, a minimum version because a token's version is
  never below the second of its issue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import ViewerDenied
from tokensvc.timestamps import rfc3339

DIGEST_BYTES = 16
VERSION_STEP_SECONDS = 5
"""While a minimum version is ahead of the clock, how long tokens share a version. Clocks differ by as much, so shorter
steps would tell no more; each revocation in such a time takes a version for each step of the reach."""
_PURPOSE = b"tokensvc denial"
_BITS = 32
_LOW = (1 << _BITS) - 1
MAX_SESSION_VERSION = (1 << 31) - 1
"""January 2038: the highest session version that a revocation can name, for the API's model calls it an integer of
32 bits; no denial lasts longer either."""


class ViewerRestriction(NamedTuple):
    """How a viewer stands in a channel, in Unix seconds; 0 where there is nothing."""

    denied_until: int = 0
    minimum_version: int = 0
    minimum_ahead_seconds: int = 0
    """How far `minimum_version` was ahead of the clock when it was set; 0: versions rise with the clock alone."""

    @property
    def expires_at(self) -> int:
        """The second from which on nothing of it matters."""
        return expires_at(pack(self))

    @property
    def minimum_set_at(self) -> int:
        """The second at which `minimum_version` was set, where it has a lead."""
        return self.minimum_version - self.minimum_ahead_seconds

    def lowest_version(self, second: int) -> int:
        """The lowest session version of a token that is issued at that second."""
        if not self.minimum_ahead_seconds or second <= self.minimum_set_at:
            return self.minimum_version
        return self.minimum_version + (second - self.minimum_set_at) // VERSION_STEP_SECONDS


def viewer_digest(channel: str, viewer_id: str) -> bytes:
    """The name of a viewer in a channel, or in all of them (`policy.ALL_CHANNELS`): 16 bytes."""
    where = channel.encode()
    message = len(where).to_bytes(4, "big") + where + viewer_id.encode(errors="surrogatepass")
    return hashlib.blake2b(message, digest_size=DIGEST_BYTES, person=_PURPOSE).digest()


def pack(standing: ViewerRestriction) -> int:
    """A standing as one integer."""
    return (standing.denied_until << _BITS | standing.minimum_version) << _BITS | standing.minimum_ahead_seconds


def expires_at(packed: int) -> int:
    """`ViewerRestriction.expires_at` of a packed one, for sweeps over thousands. The clock gains VERSION_STEP_SECONDS - 1 on the lowest
    version in each step."""
    minimum = (packed >> _BITS & _LOW) - -(packed & _LOW) // (VERSION_STEP_SECONDS - 1)
    return max(packed >> 2 * _BITS, minimum)


def unpack(packed: int) -> ViewerRestriction:
    """What `pack` was given."""
    return ViewerRestriction(packed >> 2 * _BITS, packed >> _BITS & _LOW, packed & _LOW)


SLICE_ROWS = 1000
"""Changes that are applied at once."""
_SHARDS = 256
"""By the digest's first byte; a sweep goes through one of them, which of a million entries is 4,000."""


class Denylist:
    """Standings by digest."""

    def __init__(self) -> None:
        self._shards: list[dict[bytes, int]] = [{} for _ in range(_SHARDS)]
        self._next = 0
        self._is_empty = True
        """May say False of an empty one until the next sweep has gone round, never True of another."""

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __repr__(self) -> str:
        return f"Denied({len(self)})"

    def apply(self, changes: Iterable[tuple[bytes, ViewerRestriction]], now: float) -> None:
        """Take these standings for true; at most SLICE_ROWS of them at once."""
        for name, standing in changes:
            shard = self._shards[name[0]]
            if standing.expires_at > now:
                self._is_empty = False
                shard[name] = pack(standing)
            else:
                shard.pop(name, None)

    def sweep(self, now: float) -> None:
        """Forget what is over in the next shard; after as many steps as there are shards, everywhere."""
        shard = self._shards[self._next]
        over = [name for name, packed in shard.items() if expires_at(packed) <= now]
        if over:  # a new dictionary, since one that shrinks keeps its room
            self._shards[self._next] = {name: shard[name] for name in shard.keys() - set(over)}
        self._next = (self._next + 1) % _SHARDS
        if self._next == 0:
            self._is_empty = not any(self._shards)

    def min_session_version(self, channel_arn: str, viewer_id: str, now: int) -> int:
        """The lowest session version that a token for this viewer may carry. Raises ViewerDenied."""
        if self._is_empty:
            return 0
        here = self._standing(viewer_digest(channel_arn, viewer_id))
        until = max(here.denied_until, self._standing(viewer_digest(ALL_CHANNELS, viewer_id)).denied_until)
        if until > now:
            raise ViewerDenied(f"this viewer gets no token for this channel until {rfc3339(until)}")
        return here.lowest_version(now) if here.minimum_ahead_seconds else here.minimum_version

    def _standing(self, name: bytes) -> ViewerRestriction:
        packed = self._shards[name[0]].get(name)
        return unpack(packed) if packed is not None else _NOTHING


_NOTHING = ViewerRestriction()


def session_version(now: int, minimum: int) -> int:
    """The version that a token issued now carries."""
    return max(now, minimum)
