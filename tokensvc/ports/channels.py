"""The channel directory: what IVS last said about the channels that tokens are asked for."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol


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
    def record(self, rows: list[ChannelRecord]) -> int:
        """Write what IVS said (the rows' own `version` is ignored) and return the new `channels` version.

        A row whose content did not change keeps its version and only moves `checked_at`.
        """
        ...

    def changed_since(self, version: int, limit: int) -> list[ChannelRecord]:
        """Rows written under a higher version, by version, at most `limit`."""
        ...

    def get(self, arns: list[str]) -> list[ChannelRecord]:
        """The rows of those of these channels that are known."""
        ...

    def due(self, checked_before: datetime, limit: int) -> list[str]:
        """ARNs of channels that exist and were last checked before then, longest ago first."""
        ...
