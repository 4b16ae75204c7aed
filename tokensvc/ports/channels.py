"""The channel directory: what IVS last said about the channels that tokens are asked for.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or StoreUnfit.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from tokensvc.ports.versions import ChangePage, Position


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

    def due(self, checked_before: datetime, limit: int) -> list[str]:
        """ARNs of channels that exist and were last checked before then, longest ago first."""
        ...
