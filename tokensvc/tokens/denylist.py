"""The denylist: a worker's map of every viewer that is denied, or needs a minimum session version.

Invariants
- One thread writes (the refresh), any number of threads read: a reader sees an entry before or after a change, never in
  between.
- No call takes long: applying a slice of SLICE_ROWS changes, and one step of `sweep`, each take at most 5 ms, so that
  other threads of the interpreter do not wait. The writer pauses between slices.
- Entries expire: a look-up ignores an expired entry immediately, and a sweep removes it later.
- While the denylist is empty, a look-up costs next to nothing: most deployments are in this state most of the time.
- A viewer is identified by a digest of (channel, viewer id), so that neither a worker's memory nor the store's table of
  denials reveals viewer ids. The hash includes the channel's length, so that no two pairs give the same input.
- A restriction is packed into one integer, so that the hot path looks up one value.
- A viewer's session versions rise with the time of issue, so that `issuedBefore` can select them: while a minimum
  version is ahead of the clock, versions rise by one every VERSION_STEP_SECONDS until the clock has caught up.
- A restriction expires once the clock has reached it: a denial because it ends, a minimum version because a token's
  version is never below the second of its issue.
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
"""While a minimum version is ahead of the clock, tokens issued within this many seconds share a version. Clocks may
differ by as much, so shorter steps would not distinguish more; each revocation during that time uses up one version for
each step of max_staleness."""
_PURPOSE = b"tokensvc denial"
_BITS = 32
_LOW = (1 << _BITS) - 1
MAX_SESSION_VERSION = (1 << 31) - 1
"""January 2038: the highest session version that a revocation can name, because IVS's API model declares it as a 32-bit
integer; no denial lasts longer either."""


class ViewerRestriction(NamedTuple):
    """What restricts a viewer in a channel, in Unix seconds; 0 where nothing does."""

    denied_until: int = 0
    minimum_version: int = 0
    minimum_ahead_seconds: int = 0
    """How far `minimum_version` was ahead of the clock when it was set; 0 when versions simply follow the clock."""

    @property
    def expires_at(self) -> int:
        """The second from which on the restriction has no effect."""
        return expires_at(pack(self))

    @property
    def minimum_set_at(self) -> int:
        """The second at which `minimum_version` was set, if it was ahead of the clock."""
        return self.minimum_version - self.minimum_ahead_seconds

    def including(self, everywhere: ViewerRestriction) -> ViewerRestriction:
        """This restriction, in one channel, with a denial in all channels."""
        return self._replace(denied_until=max(self.denied_until, everywhere.denied_until))

    def lowest_version(self, second: int) -> int:
        """The lowest session version that a token issued at `second` may carry."""
        if not self.minimum_ahead_seconds or second <= self.minimum_set_at:
            return self.minimum_version
        return self.minimum_version + (second - self.minimum_set_at) // VERSION_STEP_SECONDS


def viewer_digest(channel: str, viewer_id: str) -> bytes:
    """The 16-byte key of a viewer in a channel, or in all channels (`policy.ALL_CHANNELS`)."""
    channel_bytes = channel.encode()
    message = len(channel_bytes).to_bytes(4, "big") + channel_bytes + viewer_id.encode(errors="surrogatepass")
    return hashlib.blake2b(message, digest_size=DIGEST_BYTES, person=_PURPOSE).digest()


def pack(restriction: ViewerRestriction) -> int:
    """The restriction as one integer."""
    return (
        restriction.denied_until << _BITS | restriction.minimum_version
    ) << _BITS | restriction.minimum_ahead_seconds


def expires_at(packed: int) -> int:
    """`ViewerRestriction.expires_at` of a packed restriction, without unpacking it, for sweeps over thousands. In each
    step the clock gains VERSION_STEP_SECONDS - 1 on the lowest version."""
    minimum = (packed >> _BITS & _LOW) - -(packed & _LOW) // (VERSION_STEP_SECONDS - 1)
    return max(packed >> 2 * _BITS, minimum)


def unpack(packed: int) -> ViewerRestriction:
    """The inverse of `pack`."""
    return ViewerRestriction(packed >> 2 * _BITS, packed >> _BITS & _LOW, packed & _LOW)


SLICE_ROWS = 1000
"""The most changes that one call applies."""
_SHARDS = 256
"""Selected by the digest's first byte. A step of the sweep covers one shard: 4,000 of a million entries."""


class Denylist:
    """Viewer restrictions by digest."""

    def __init__(self) -> None:
        self._shards: list[dict[bytes, int]] = [{} for _ in range(_SHARDS)]
        self._next_shard = 0
        self._is_empty = True
        """May be False for an empty denylist until the next sweep has completed; never True for a non-empty one."""

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __repr__(self) -> str:
        return f"Denylist({len(self)})"

    def apply(self, changes: Iterable[tuple[bytes, ViewerRestriction]], now: float) -> None:
        """Set these restrictions, at most SLICE_ROWS per call. `now` is in Unix seconds; expired ones are removed."""
        for key, restriction in changes:
            shard = self._shards[key[0]]
            if restriction.expires_at > now:
                self._is_empty = False
                shard[key] = pack(restriction)
            else:
                shard.pop(key, None)

    def sweep(self, now: float) -> None:
        """Remove the expired entries of the next shard; as many calls as there are shards cover all of them."""
        shard = self._shards[self._next_shard]
        expired = [key for key, packed in shard.items() if expires_at(packed) <= now]
        if expired:  # a new dictionary, because one that shrinks keeps its memory
            self._shards[self._next_shard] = {key: shard[key] for key in shard.keys() - set(expired)}
        self._next_shard = (self._next_shard + 1) % _SHARDS
        if self._next_shard == 0:
            self._is_empty = not any(self._shards)

    def min_session_version(self, channel_arn: str, viewer_id: str, now: int) -> int:
        """The lowest session version that a token for this viewer may carry; 0 without a minimum. Raises
        ViewerDenied."""
        if self._is_empty:
            return 0
        own = self._restriction(viewer_digest(channel_arn, viewer_id))
        until = max(own.denied_until, self._restriction(viewer_digest(ALL_CHANNELS, viewer_id)).denied_until)
        if until > now:
            raise ViewerDenied(f"this viewer is denied tokens for this channel until {rfc3339(until)}")
        return own.lowest_version(now) if own.minimum_ahead_seconds else own.minimum_version

    def restriction(self, channel_arn: str, viewer_id: str) -> ViewerRestriction:
        """What restricts a viewer in a channel, including denials in all channels. It may have expired."""
        own = self._restriction(viewer_digest(channel_arn, viewer_id))
        return own.including(self._restriction(viewer_digest(ALL_CHANNELS, viewer_id)))

    def _restriction(self, key: bytes) -> ViewerRestriction:
        packed = self._shards[key[0]].get(key)
        return unpack(packed) if packed is not None else _NO_RESTRICTION


_NO_RESTRICTION = ViewerRestriction()


def session_version(now: int, minimum: int) -> int:
    """The session version of a token issued now."""
    return max(now, minimum)
