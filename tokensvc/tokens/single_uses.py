"""Spent single uses: which single-use tokens have started playback where tokensvc itself guards a channel's files.

Invariants
- INFERRED: A single use is identified by its channel and its UUID in lower case, not by the token. IVS documents that
  the token is invalid once it was used, and not what identifies the use.
- A single-use token lives at most ten minutes (rule `ten-minutes`), so a spent one needs no record after that time and
  the clocks' difference.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Protocol

from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.tokens.claims import TEN_MINUTES_SECONDS

RETENTION_SECONDS = TEN_MINUTES_SECONDS + 2 * CLOCK_SKEW_SECONDS
_DIGEST_BYTES = 16
_PURPOSE = b"single use"


class SingleUseStore(Protocol):
    """The spent single uses of all workers. Every method raises StoreError."""

    def spend(self, digest: bytes) -> bool:
        """Spend a single use, once and for all: of concurrent attempts exactly one returns True."""
        ...

    def is_spent(self, digest: bytes) -> bool: ...

    def prune(self, spent_before: datetime, limit: int) -> int:
        """Delete at most so many of those that were spent before then; return how many."""
        ...


def single_use_digest(channel: str, uuid: str) -> bytes:
    """What identifies a single use in the store. No ARN contains a `|`, so no two pairs give the same digest."""
    message = f"{channel}|{uuid.lower()}".encode()
    return hashlib.blake2b(message, digest_size=_DIGEST_BYTES, person=_PURPOSE).digest()
