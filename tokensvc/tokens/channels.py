"""The channel directory: what IVS last said about the channels that tokens are asked for.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.deployment.versions import ChangePage, Position

ABSENCE_RETENTION_SECONDS = 1800.0
"""How long the row of a channel that is gone stays at least after it can be read. Workers read by number what changed
and see no deletions, so one that did not read for long may have missed the row and reads everything again."""

FULL_RELOAD_AFTER_SECONDS = ABSENCE_RETENTION_SECONDS / 2
"""A worker whose last complete reading began longer ago reads everything again; the other half is for slow readings."""


class ChannelRecord(NamedTuple):
    """A channel as BatchGetChannel last described it, or its absence."""

    arn: str
    playback_url: str | None
    """None when IVS said that there is no such channel."""
    authorized: bool
    """Whether the channel is private, so that playback needs a token at all."""
    checked_at: datetime
    version: int
    """The change number under which this row was last written."""


class ChannelStore(Protocol):
    """Records of channels, each with the version under which it was last written."""

    def record(self, rows: list[ChannelRecord]) -> int:
        """Write what IVS said (the rows' own `version` is ignored) and return the `channels` version after it.

        That a channel does not exist is written only over a row that says that it does: who invents names leaves none.
        All rows that say something new share one new version. A row whose content did not change keeps its version
        and only moves `checked_at`; when there is no other, the `channels` version stays. A row that was checked
        before what is known of its channel changes nothing: answers overtake one another.
        """
        ...

    def changed_since(self, position: Position, limit: int) -> ChangePage[ChannelRecord]:
        """Rows written under a higher number, by number: whole numbers, until there are at least `limit` rows.

        Continue with the page's position until `is_last`. Raises StoreReplaced when the position is not part of the
        store's history; the reader then begins anew, with `Position()`.
        """
        ...

    def get(self, arns: list[str]) -> list[ChannelRecord]:
        """The rows of those of these channels that are known, in no order."""
        ...

    def due(self, checked_before: datetime, limit: int, not_in: Sequence[str] = ()) -> list[str]:
        """ARNs of channels that exist and were last checked before then, longest ago first, of other regions than
        `not_in`."""
        ...

    def prune(self, version: int, checked_before: datetime, limit: int) -> int:
        """Delete at most `limit` rows of channels that do not exist, written under this version or a lower one and last
        checked before then; how many there were. No version number rises: every worker must have seen those rows."""
        ...
