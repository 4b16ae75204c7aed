"""What stands between one viewer and a token: until when it is denied, and from which session version on it is let in.

Rules of the file
- A viewer is known by a digest of (channel, viewer id), so that nobody who reads a worker's memory or the store's table
  of denials reads viewer ids. The channel's length is part of what is hashed: no two pairs are spelled alike.
- Both facts are one integer, `denied until` above `minimum version`, so that the hot path looks up one thing.
- A fact is over once the clock has reached it: a denial because it ends, a minimum version because a token's version is
  never below the second of its issue.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

DIGEST_BYTES = 16
_PURPOSE = b"tokensvc denial"
_BITS = 32
_LOW = (1 << _BITS) - 1
LAST_SECOND = (1 << 31) - 1
"""January 2038: the highest session version that a revocation can name, for the API's model calls it an integer of
32 bits; no denial lasts longer either."""


class Standing(NamedTuple):
    """How a viewer stands in a channel, both in Unix seconds; 0 where there is nothing."""

    denied_until: int = 0
    minimum_version: int = 0

    @property
    def over_at(self) -> int:
        """The second from which on nothing of it matters."""
        return max(self)


def digest(channel: str, viewer_id: str) -> bytes:
    """The name of a viewer in a channel, or in all of them (`policy.ALL_CHANNELS`): 16 bytes."""
    where = channel.encode()
    message = len(where).to_bytes(4, "big") + where + viewer_id.encode(errors="surrogatepass")
    return hashlib.blake2b(message, digest_size=DIGEST_BYTES, person=_PURPOSE).digest()


def pack(standing: Standing) -> int:
    """A standing as one integer."""
    return standing.denied_until << _BITS | standing.minimum_version


def over_at(packed: int) -> int:
    """`Standing.over_at` of a packed one, for who asks it of thousands."""
    return max(packed >> _BITS, packed & _LOW)


def unpack(packed: int) -> Standing:
    """What `pack` was given."""
    return Standing(packed >> _BITS, packed & _LOW)
