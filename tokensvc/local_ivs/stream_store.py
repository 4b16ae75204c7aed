"""Where streams come from: whatever takes in what an encoder sends and tells IVS of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class StreamSource(Protocol):
    """A source of streams for the channels of the local IVS. Each step raises IvsError where it cannot be."""

    def start(self, channel_arn: str, ingest: Mapping[str, Any] | None = None) -> str:
        """An encoder connects: the channel goes live. Gives the stream's id."""
        ...

    def stop(self, channel_arn: str) -> None:
        """The encoder is gone: the stream ends."""
        ...

    def set_health(self, channel_arn: str, health: str) -> None:
        """HEALTHY, STARVING or UNKNOWN."""
        ...

    def set_ingest(self, channel_arn: str, ingest: Mapping[str, Any]) -> None:
        """The encoder sends something else."""
        ...

    def set_viewers(self, channel_arn: str, count: int) -> None:
        """So many watch, beside those who came through the edge."""
        ...
