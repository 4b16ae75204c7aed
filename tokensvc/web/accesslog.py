"""One line a request, written in batches off the event loop.

Rules of the file
- A line holds when, what route, which caller, the outcome and how long: no query, no body, no token, no viewer.
- The loop appends a tuple; a thread of this file's own makes the text and writes it. When the writer cannot keep up,
  the oldest lines are dropped and the next line written says how many.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tokensvc.core.instant import rfc3339

EVERY_SECONDS = 0.25
_KEPT_MAX = 100_000
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")


class Line(NamedTuple):
    """One request."""

    at: float
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

    def __init__(self, write: Callable[[str], object], *, as_json: bool) -> None:
        self._write = write
        self._render = _json if as_json else _text
        self._lines: deque[Line] = deque(maxlen=_KEPT_MAX)
        self._dropped = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopping.set()
        self._thread.join(5)

    def add(self, line: Line) -> None:
        """Take one line; never waits."""
        if len(self._lines) == _KEPT_MAX:
            self._dropped += 1
        self._lines.append(line)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        text = "".join(self._render(self._lines.popleft()) for _ in range(len(self._lines)))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            text += f'{{"event":"access lines dropped","lines":{dropped}}}\n'
        if text:
            self._write(text)


def _json(line: Line) -> str:
    """Written by hand, for speed: every value is ours or was checked (a caller's name), so none needs escaping."""
    return (
        f'{{"timestamp":"{_instant(line.at)}","level":"info","event":"request","method":"{line.method}",'
        f'"path":"{line.path}","status":{line.status},"code":"{line.code}","caller":"{line.caller}",'
        f'"client":"{_address(line.client)}",'
        f'"request_id":"{line.request_id}","ms":{line.seconds * 1000:.3f}}}\n'
    )


def _text(line: Line) -> str:
    return (
        f"{_instant(line.at)} {line.method} {line.path} {line.status} {line.code} caller={line.caller or '-'} "
        f"client={_address(line.client)} "
        f"{line.seconds * 1000:.1f}ms {line.request_id}\n"
    )


def _address(client: str) -> str:
    """The client's address; a trusted proxy may have passed on anything in its place."""
    return client if _ADDRESS.fullmatch(client) else "-"


def _instant(seconds: float) -> str:
    return f"{rfc3339(int(seconds))[:-1]}.{int(seconds % 1 * 1000):03d}Z"
