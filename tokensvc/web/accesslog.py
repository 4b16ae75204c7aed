"""One line a request, written in batches off the event loop.

Rules of the file
- A line holds when, what route, which caller, the outcome and how long: no query, no body, no token, no viewer.
- The loop appends a tuple; a thread of this file's own makes the text and writes it. When the writer cannot keep up,
  the oldest lines are dropped and a line says so.
- The thread pauses after every LINES_AT_ONCE: who makes text holds the interpreter, and a token must not wait for the
  lines of a whole quarter of a second.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from tokensvc.core.instant import rfc3339
from tokensvc.ports.clock import Clock

EVERY_SECONDS = 0.25
LINES_AT_ONCE = 100
"""A fifth of a millisecond."""
_PAUSE_SECONDS = 0.001
_KEPT_MAX = 100_000
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")


class Line(NamedTuple):
    """One request. On the hot path a plain tuple of the same members stands for it."""

    ended_at: float
    """On the monotonic clock."""
    method: str
    path: str
    status: int
    code: str
    caller: str
    client: str
    request_id: str
    seconds: float


class AccessLog:
    """Collects lines and writes them about four times a second."""

    def __init__(self, write: Callable[[str], object], clock: Clock, *, as_json: bool) -> None:
        self._write = write
        self._clock = clock
        self._render = _json if as_json else _text
        self._lines: deque[tuple[float, str, str, int, str, str, str, str, float]] = deque(maxlen=_KEPT_MAX)
        self.add = self._lines.append
        """Take one line; never waits."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        wall_ahead = self._clock.now() - self._clock.monotonic()
        waiting, text = len(self._lines), ""
        for number in range(waiting):
            if number % LINES_AT_ONCE == LINES_AT_ONCE - 1:
                self._stopping.wait(_PAUSE_SECONDS)
            line = Line(*self._lines.popleft())
            text += self._render(line, line.ended_at + wall_ahead)
        if waiting == _KEPT_MAX:
            text += f'{{"event":"access lines may have been dropped","kept":{waiting}}}\n'
        if text:
            with suppress(OSError, ValueError):  # a full disk or a closed stream must not end the log for good
                self._write(text)


def _json(line: Line, at: float) -> str:
    """Written by hand, for speed: every value is ours or was checked (a caller's name), so none needs escaping."""
    return (
        f'{{"timestamp":"{_instant(at)}","level":"info","event":"request","method":"{line.method}",'
        f'"path":"{line.path}","status":{line.status},"code":"{line.code}","caller":"{line.caller}",'
        f'"client":"{_address(line.client)}",'
        f'"request_id":"{line.request_id}","ms":{line.seconds * 1000:.3f}}}\n'
    )


def _text(line: Line, at: float) -> str:
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
