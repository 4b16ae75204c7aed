"""The store of channels: how IVS last described the channels that tokens are requested for.

Every method may raise StoreUnavailable, in which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.deployment.versions import ChangePage, Position

ABSENCE_RETENTION_SECONDS = 1800.0
"""How long the row that records a channel's absence is kept, at least, once workers can read it. Workers read changes
by change number and do not see deletions, so a worker that has not read for longer may have missed the row and reloads
all channels."""

FULL_RELOAD_AFTER_SECONDS = ABSENCE_RETENTION_SECONDS / 2
"""A worker whose last complete read started longer ago reloads all channels; the other half allows for slow reads."""


class ChannelRecord(NamedTuple):
    """A channel as BatchGetChannel last described it, or its absence."""

    arn: str
    playback_url: str | None
    """None when IVS reported that there is no such channel."""
    authorized: bool
    """Whether the channel is private, so that playback needs a token at all."""
    checked_at: datetime
    version: int
    """The change number with which this row was last written."""


class ChannelStore(Protocol):
    """Channel records, each with the version with which it was last written."""

    def record(self, rows: list[ChannelRecord]) -> int:
        """Write what IVS returned (the rows' own `version` is ignored) and return the new `channels` version.

        An absence is written only over a row that says that the channel exists: invented names leave no rows. All
        changed rows share one new version. A row whose content did not change keeps its version and only updates
        `checked_at`; when no row changed, the `channels` version stays the same. A row that was checked before the
        stored one is ignored: responses may arrive out of order.
        """
        ...

    def changed_since(self, position: Position, limit: int) -> ChangePage[ChannelRecord]:
        """Rows written with a higher change number, in order; all rows of a number, until there are at least `limit`.

        Continue with the page's position until `is_last`. Raises StoreReplaced when the position is not part of the
        store's history; start again with `Position()` then.
        """
        ...

    def get(self, arns: list[str]) -> list[ChannelRecord]:
        """The stored rows of these channels, in no particular order."""
        ...

    def due(self, checked_before: datetime, limit: int, not_in: Sequence[str] = ()) -> list[str]:
        """ARNs of existing channels that were last checked before `checked_before`, longest ago first, without those
        in the regions `not_in`."""
        ...

    def prune(self, version: int, checked_before: datetime, limit: int) -> int:
        """Delete at most `limit` rows of channels that do not exist, written with this version or a lower one and last
        checked before `checked_before`; return how many. No version is bumped: call it only for rows that every worker
        must have seen."""
        ...
