"""The access log: one line per request.

Invariants
- A line has the time, route, caller, client, status, code and duration: no query, no body, no token and no viewer.
- Its first keys are those of every log line: timestamp, level, event, request id and trace id.
- The event loop only queues a tuple. The log writer's thread renders the text, in batches; when it cannot keep up, it
  drops lines and counts them. It also leaves out the lines while the log's level is above theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from tokensvc.clock import Clock
from tokensvc.metrics import HandledRequest, HandledRequestTuple
from tokensvc.timestamps import rfc3339_milliseconds

EVENT = "request"
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")


class LineQueue(Protocol):
    """Queues entries for writing on another thread."""

    def queue_for(self, render: Callable[[Sequence[Any]], str], /) -> Callable[[Any], None]:
        """The function that queues one entry without waiting; `render` makes the text of several, on another thread."""
        ...


class AccessLog:
    """Queues requests, and renders them."""

    def __init__(
        self, queue: LineQueue, clock: Clock, *, as_json: bool, is_written: Callable[[], bool] = lambda: True
    ) -> None:
        """`is_written` is asked for each batch of lines: whether the log has lines of level info at present."""
        self._clock = clock
        self._render = _json if as_json else _text
        self._is_written = is_written
        self.add = queue.queue_for(self._render_all)
        """Queue one `HandledRequest`; never waits."""

    def _render_all(self, requests: Sequence[HandledRequestTuple]) -> str:
        if not self._is_written():
            return ""
        wall_ahead = self._clock.now() - self._clock.monotonic()
        named = [HandledRequest(*request) for request in requests]
        return "".join([self._render(request, request.finished_at + wall_ahead) for request in named])


def _json(request: HandledRequest, at: float) -> str:
    """Formatted by hand for speed: every value is ours or validated (a caller's name), so none needs escaping."""
    trace = f'"trace_id":"{request.trace_id}",' if request.trace_id else ""
    return (
        f'{{"timestamp":"{rfc3339_milliseconds(at)}","level":"info","event":"{EVENT}",'
        f'"request_id":"{request.request_id}",{trace}"method":"{request.method}",'
        f'"path":"{request.route}","status":{request.status},"code":"{request.code}","caller":"{request.caller}",'
        f'"client":"{_address(request.client)}","duration_ms":{request.seconds * 1000:.3f}}}\n'
    )


def _text(request: HandledRequest, at: float) -> str:
    trace = f"trace_id={request.trace_id} " if request.trace_id else ""
    return (
        f"{rfc3339_milliseconds(at)} [info     ] {EVENT} request_id={request.request_id} {trace}"
        f"method={request.method} path={request.route} status={request.status} code={request.code or '-'} "
        f"caller={request.caller or '-'} "
        f"client={_address(request.client)} duration_ms={request.seconds * 1000:.1f}\n"
    )


@lru_cache(maxsize=1024)
def _address(client: str) -> str:
    """The client's address, or "-": a trusted proxy may forward any text as the address."""
    return client if _ADDRESS.fullmatch(client) else "-"
