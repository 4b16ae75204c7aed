"""Who watches: views of each live stream, counted where playback starts.

Rules of the file
- IVS API reference, Stream, `viewerCount`: a view appears within 15 seconds of the start of playback, and goes within
  one minute of its end. INFERRED, and simpler: a view appears at once and goes one minute after it started, since the
  edge hears nothing from a player after it has handed out the playlist.
- Views are in memory: after a restart nobody watches.
"""

from __future__ import annotations

import threading
from collections import deque

VIEW_SECONDS = 60
"""How long a start of playback counts."""
_STREAMS_BEFORE_CLEARING = 200


class Viewers:
    """Views by stream. Safe to share among threads."""

    def __init__(self) -> None:
        self._started_at: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def watch(self, stream_id: str, now: float) -> None:
        """Somebody starts to watch."""
        with self._lock:
            if len(self._started_at) > _STREAMS_BEFORE_CLEARING:
                self._started_at = {name: starts for name, starts in self._started_at.items() if _current(starts, now)}
            starts = self._started_at.setdefault(stream_id, deque())
            _current(starts, now)
            starts.append(now)

    def count(self, stream_id: str, now: float) -> int:
        """How many watch."""
        with self._lock:
            return _current(self._started_at.get(stream_id, deque()), now)


def _current(starts: deque[float], now: float) -> int:
    """How many have not ended; those that have are let go."""
    while starts and starts[0] <= now - VIEW_SECONDS:
        starts.popleft()
    return len(starts)
