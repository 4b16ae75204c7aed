"""Concurrent viewers of each live stream, counted when playback starts.

Invariants
- IVS API reference, Stream, `viewerCount`: a view appears within 15 seconds of the start of playback and disappears
  within one minute of its end.
- INFERRED: A view appears immediately and disappears one minute after it started. This is simpler than what the API
  reference describes, since the edge receives nothing from a player after serving its playlist.
- Views are kept in memory: after a restart all counts are 0.
"""

from __future__ import annotations

import threading
from collections import deque

VIEW_SECONDS = 60
"""How long a start of playback is counted."""
_MAX_STREAMS = 200
"""Above this number, streams without viewers are dropped."""


class Viewers:
    """Views by stream. Thread-safe."""

    def __init__(self) -> None:
        self._started_at: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, stream_id: str, now: float) -> None:
        """Count a start of playback."""
        with self._lock:
            if len(self._started_at) > _MAX_STREAMS:
                self._started_at = {name: starts for name, starts in self._started_at.items() if _current(starts, now)}
            starts = self._started_at.setdefault(stream_id, deque())
            _current(starts, now)
            starts.append(now)

    def count(self, stream_id: str, now: float) -> int:
        """The number of viewers now."""
        with self._lock:
            return _current(self._started_at.get(stream_id, deque()), now)


def _current(starts: deque[float], now: float) -> int:
    """The number of views that have not ended. Removes those that have."""
    while starts and starts[0] <= now - VIEW_SECONDS:
        starts.popleft()
    return len(starts)
