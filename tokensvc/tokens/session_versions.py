"""What stands between one viewer and a token: until when it is denied, and from which session version on it is let in.

Rules of the file
- A viewer is known by a digest of (channel, viewer id), so that nobody who reads a worker's memory or the store's table
  of denials reads viewer ids. The channel's length is part of what is hashed: no two pairs are spelled alike.
- All facts are one integer, so that the hot path looks up one thing.
- Versions of one viewer rise with the time of issue, or `issuedBefore` could not select them: while a minimum version
  is ahead of the clock, versions rise by one every STEP_SECONDS until the clock has caught up.
- A fact is over once the clock has reached it: a denial because it ends, a minimum version because a token's version is
  never below the second of its issue.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

DIGEST_BYTES = 16
STEP_SECONDS = 5
"""While a minimum version is ahead of the clock, how long tokens share a version. Clocks differ by as much, so shorter
steps would tell no more; each revocation in such a time takes a version for each step of the reach."""
_PURPOSE = b"tokensvc denial"
_BITS = 32
_LOW = (1 << _BITS) - 1
LAST_SECOND = (1 << 31) - 1
"""January 2038: the highest session version that a revocation can name, for the API's model calls it an integer of
32 bits; no denial lasts longer either."""


class Standing(NamedTuple):
    """How a viewer stands in a channel, in Unix seconds; 0 where there is nothing."""

    denied_until: int = 0
    minimum_version: int = 0
    minimum_lead: int = 0
    """How far `minimum_version` was ahead of the clock when it was set; 0: versions rise with the clock alone."""

    @property
    def over_at(self) -> int:
        """The second from which on nothing of it matters."""
        return over_at(pack(self))

    @property
    def minimum_set_at(self) -> int:
        """The second at which `minimum_version` was set, where it has a lead."""
        return self.minimum_version - self.minimum_lead

    def lowest_version(self, second: int) -> int:
        """The lowest session version of a token that is issued at that second."""
        if not self.minimum_lead or second <= self.minimum_set_at:
            return self.minimum_version
        return self.minimum_version + (second - self.minimum_set_at) // STEP_SECONDS


def digest(channel: str, viewer_id: str) -> bytes:
    """The name of a viewer in a channel, or in all of them (`policy.ALL_CHANNELS`): 16 bytes."""
    where = channel.encode()
    message = len(where).to_bytes(4, "big") + where + viewer_id.encode(errors="surrogatepass")
    return hashlib.blake2b(message, digest_size=DIGEST_BYTES, person=_PURPOSE).digest()


def pack(standing: Standing) -> int:
    """A standing as one integer."""
    return (standing.denied_until << _BITS | standing.minimum_version) << _BITS | standing.minimum_lead


def over_at(packed: int) -> int:
    """`Standing.over_at` of a packed one, for sweeps over thousands. The clock gains STEP_SECONDS - 1 on the lowest
    version in each step."""
    minimum = (packed >> _BITS & _LOW) - -(packed & _LOW) // (STEP_SECONDS - 1)
    return max(packed >> 2 * _BITS, minimum)


def unpack(packed: int) -> Standing:
    """What `pack` was given."""
    return Standing(packed >> 2 * _BITS, packed >> _BITS & _LOW, packed & _LOW)
