"""The access log: one line per request.

Invariants
- A line has the time, route, caller, client, status, code and duration: no query, no body, no token and no viewer.
- The event loop only queues a tuple. The log writer's thread renders the text, in batches; when it cannot keep up, it
  drops lines and counts them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from tokensvc.clock import Clock
from tokensvc.timestamps import rfc3339

_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")


class LogEntry(NamedTuple):
    """One request. The hot path queues a plain tuple of the same members."""

    finished_at: float
    """Monotonic clock, in seconds."""
    method: str
    path: str
    status: int
    code: str
    caller: str
    client: str
    request_id: str
    seconds: float


class LineQueue(Protocol):
    """Queues entries for writing on another thread."""

    def queue_for(self, render: Callable[[Sequence[Any]], str], /) -> Callable[[Any], None]:
        """The function that queues one entry without waiting; `render` makes the text of several, on another thread."""
        ...


class AccessLog:
    """Queues entries, and renders them."""

    def __init__(self, queue: LineQueue, clock: Clock, *, as_json: bool) -> None:
        self._clock = clock
        self._render = _json if as_json else _text
        self.add = queue.queue_for(self._render_all)
        """Queue one entry; never waits."""

    def _render_all(self, entries: Sequence[tuple[float, str, str, int, str, str, str, str, float]]) -> str:
        wall_ahead = self._clock.now() - self._clock.monotonic()
        named = [LogEntry(*entry) for entry in entries]
        return "".join([self._render(entry, entry.finished_at + wall_ahead) for entry in named])


def _json(entry: LogEntry, at: float) -> str:
    """Formatted by hand for speed: every value is ours or validated (a caller's name), so none needs escaping."""
    return (
        f'{{"timestamp":"{_instant(at)}","level":"info","event":"request","method":"{entry.method}",'
        f'"path":"{entry.path}","status":{entry.status},"code":"{entry.code}","caller":"{entry.caller}",'
        f'"client":"{_address(entry.client)}",'
        f'"request_id":"{entry.request_id}","duration_ms":{entry.seconds * 1000:.3f}}}\n'
    )


def _text(entry: LogEntry, at: float) -> str:
    return (
        f"{_instant(at)} {entry.method} {entry.path} {entry.status} {entry.code} caller={entry.caller or '-'} "
        f"client={_address(entry.client)} "
        f"{entry.seconds * 1000:.1f}ms {entry.request_id}\n"
    )


@lru_cache(maxsize=1024)
def _address(client: str) -> str:
    """The client's address, or "-": a trusted proxy may forward any text as the address."""
    return client if _ADDRESS.fullmatch(client) else "-"


def _instant(seconds: float) -> str:
    return f"{rfc3339(int(seconds))[:-1]}.{int(seconds % 1 * 1000):03d}Z"
