"""One line a request.

Rules of the file
- A line holds when, what route, which caller, the outcome and how long: no query, no body, no token, no viewer.
- The loop queues a tuple. The thread that writes the log makes the text, in batches; when it cannot keep up, lines are
  dropped and counted there.
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
    """One request. On the hot path a plain tuple of the same members stands for it."""

    finished_at: float
    """On the monotonic clock."""
    method: str
    path: str
    status: int
    code: str
    caller: str
    client: str
    request_id: str
    seconds: float


class LineQueue(Protocol):
    """Where lines are queued for writing."""

    def accept(self, render: Callable[[Sequence[Any]], str], /) -> Callable[[Any], None]:
        """The function that queues one entry without waiting; `render` makes the text of several, on another thread."""
        ...


class AccessLog:
    """Queues lines, and makes their text."""

    def __init__(self, queue: LineQueue, clock: Clock, *, as_json: bool) -> None:
        self._clock = clock
        self._render = _json if as_json else _text
        self.add = queue.accept(self._text_of)
        """Take one line; never waits."""

    def _text_of(self, entries: Sequence[tuple[float, str, str, int, str, str, str, str, float]]) -> str:
        wall_ahead = self._clock.now() - self._clock.monotonic()
        lines = [LogEntry(*entry) for entry in entries]
        return "".join([self._render(line, line.finished_at + wall_ahead) for line in lines])


def _json(line: LogEntry, at: float) -> str:
    """Written by hand, for speed: every value is ours or was checked (a caller's name), so none needs escaping."""
    return (
        f'{{"timestamp":"{_instant(at)}","level":"info","event":"request","method":"{line.method}",'
        f'"path":"{line.path}","status":{line.status},"code":"{line.code}","caller":"{line.caller}",'
        f'"client":"{_address(line.client)}",'
        f'"request_id":"{line.request_id}","ms":{line.seconds * 1000:.3f}}}\n'
    )


def _text(line: LogEntry, at: float) -> str:
    return (
        f"{_instant(at)} {line.method} {line.path} {line.status} {line.code} caller={line.caller or '-'} "
        f"client={_address(line.client)} "
        f"{line.seconds * 1000:.1f}ms {line.request_id}\n"
    )


@lru_cache(maxsize=1024)
def _address(client: str) -> str:
    """The client's address; a trusted proxy may have passed on anything in its place."""
    return client if _ADDRESS.fullmatch(client) else "-"


def _instant(seconds: float) -> str:
    return f"{rfc3339(int(seconds))[:-1]}.{int(seconds % 1 * 1000):03d}Z"
