"""Who is denied and from which session version on viewers are let in, as the store keeps it.

A viewer of a channel has one row, known by a digest (`tokens/denylist.py`), which is shown to nobody; revocations write
minimum versions and denials into it, `add` writes denials. Each change raises the `denials` version in its own
transaction and puts that number on the rows. Every method may raise StoreUnavailable, and then nothing was
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
    """A viewer of a channel, or of all (`policy.ALL_CHANNELS`), that gets no token until that second."""

    channel: str
    digest: bytes
    until: int
    reason: str = ""


class Denial(NamedTuple):
    """A denial in force."""

    id: str
    """What it is called outside: random, and says nothing of its viewer."""
    channel: str
    digest: bytes
    until: datetime
    reason: str
    caller: str
    """Who wrote it: with `add`, or with a revocation."""
    created_at: datetime
    number: int
    """The change number under which it was last written."""


class RestrictionRow(NamedTuple):
    """What workers know of a viewer of a channel."""

    digest: bytes
    standing: ViewerRestriction
    number: int


class DenialStore(Protocol):
    """One row for each viewer of a channel that is, or was lately, denied or revoked."""

    def add(self, caller: str, wanted: Sequence[NewDenial]) -> list[Denial]:
        """Deny these viewers, in one transaction. A denial that is in force and ends later stays as it is. In order."""
        ...

    def in_force(
        self,
        patterns: Patterns,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        channel: str | None = None,
        only: Sequence[bytes] | None = None,
    ) -> list[Denial]:
        """Denials in force in these channels, last written first, at most `limit`, coming after (number, id)
        `before`; with `channel`, those of this one alone (or of `*`); with `only`, those of these digests. Fewer than
        `limit` means that there are no more."""
        ...

    def remove(self, denial_id: str, patterns: Patterns) -> None:
        """Let the viewer have tokens again; a minimum version stays. Raises DenialNotFound when none is in force, or
        these patterns do not show it."""
        ...

    def changed_since(self, position: Position, limit: int) -> ChangePage[RestrictionRow]:
        """Rows written under a higher number, by number: whole numbers, until there are at least `limit` rows.

        Of a row of which nothing but the viewer can be read, the viewer is denied for as long as can be. Continue with
        the page's position until `is_last`. Raises StoreReplaced when the position is not part of the store's history;
        the reader then begins anew, with `Position()`.
        """
        ...

    def prune(self, expired_before: datetime, limit: int) -> int:
        """Forget at most `limit` rows of which nothing mattered since then, even to who has not heard of the last
        change; how many there were."""
        ...
