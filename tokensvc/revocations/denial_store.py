"""The store of denials and minimum session versions.

A viewer of a channel has one row, identified by a digest (`tokens/denylist.py`) that is never shown. Revocations write
minimum versions and denials into it, `add` writes denials. Each change raises the `denials` version in its own
transaction and writes that number to the rows. Every method may raise StoreUnavailable, in which case nothing was
acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.revocations.store import Patterns
from tokensvc.tokens.denylist import ViewerRestriction


class NewDenial(NamedTuple):
    """A viewer of a channel, or of all channels (`policy.ALL_CHANNELS`), to deny tokens until that Unix second."""

    channel: str
    digest: bytes
    until: int
    reason: str = ""


class Denial(NamedTuple):
    """A denial in force."""

    id: str
    """The public id: random, so it reveals nothing about the viewer."""
    channel: str
    digest: bytes
    until: datetime
    reason: str
    caller: str
    """The name of the caller that added it, with `add` or with a revocation."""
    created_at: datetime
    number: int
    """The change number of the last write."""


class RestrictionRow(NamedTuple):
    """The restriction of one viewer of a channel, as workers read it."""

    digest: bytes
    restriction: ViewerRestriction
    number: int


class DenialStore(Protocol):
    """One row for each viewer of a channel that is, or recently was, denied or revoked."""

    def add(self, caller: str, denials: Sequence[NewDenial]) -> list[Denial]:
        """Deny these viewers, in one transaction. A denial in force that ends later stays as it is. Returns the denials
        in the same order."""
        ...

    def in_force(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        channel: str | None = None,
        digests: Sequence[bytes] | None = None,
    ) -> list[Denial]:
        """Denials in force in these channels, last written first, at most `limit`, following (number, id) `before`;
        with `channel`, only those of this one (or of `*`); with `digests`, only those of these viewers. Fewer than
        `limit` means that there are no more."""
        ...

    def remove(self, denial_id: str, patterns: Patterns) -> None:
        """End a denial; a minimum version stays. Raises DenialNotFound if none is in force, or it is not visible to
        these patterns."""
        ...

    def changed_since(self, position: Position, limit: int) -> ChangePage[RestrictionRow]:
        """Rows with a higher change number, in its order: all rows of each number, until there are at least `limit`.

        If only the viewer of a row can be read, the viewer is denied for as long as possible. Continue with the page's
        position until `is_last`. Raises StoreReplaced when the position is not part of the store's history; the reader
        then starts again with `Position()`.
        """
        ...

    def prune(self, expired_before: datetime, limit: int) -> int:
        """Delete at most `limit` rows that expired before then, also for workers that have not read the last change.
        Returns the number deleted."""
        ...
