"""`GET /events` of the management listener: the log of events, as JSON or as server-sent events.

Invariants
- With `?after=N` the response is one JSON page of the events after number N. Otherwise it is a stream: it continues
  after the number in `Last-Event-ID`, or starts with the next event if there is none (WHATWG HTML, "Server-sent
  events"; the `id` of each event is its number).
- The log is polled every POLL_SECONDS, so a reader holds nothing that a call could wait for. A comment is sent while
  nothing happens, so that a disconnected reader is noticed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.streams import events
from tokensvc.local_ivs.streams.events import NumberedEvent
from tokensvc.validation_errors import shown_name

POLL_SECONDS = 0.1
KEEPALIVE_SECONDS = 15
PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
_MAX_NUMBER = 2**63 - 1


class EventLog:
    """Serves the log of events. Setting `closing` ends every stream."""

    def __init__(self, resources: ResourceStore, closing: threading.Event) -> None:
        self._resources = resources
        self._closing = closing

    async def get(self, request: Request) -> Response:
        parameters = request.query_params
        if unknown := sorted(set(parameters) - {"after", "maxResults"}):
            raise InvalidRequest([FieldError(shown_name(name), "is not a known field") for name in unknown])
        if "after" in parameters:
            after = _number("after", parameters["after"])
            limit = _number("maxResults", parameters.get("maxResults", str(PAGE_SIZE)), 1, MAX_PAGE_SIZE)
            found = await anyio.to_thread.run_sync(self._after, after, limit)
            return JSONResponse({"events": [{"number": n.number, "event": n.event} for n in found]})
        last_event_id = request.headers.get("last-event-id")
        start = (
            await anyio.to_thread.run_sync(self._newest)
            if last_event_id is None
            else _number("Last-Event-ID", last_event_id)
        )
        return StreamingResponse(
            self._stream(start), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def _stream(self, after: int) -> AsyncIterator[bytes]:
        yield b": events of the local IVS\n\n"
        idle_seconds = 0.0
        closing = False
        while not closing:
            closing = self._closing.is_set()
            found = await anyio.to_thread.run_sync(self._after, after, PAGE_SIZE)
            for numbered in found:
                yield _encode(numbered)
                after = numbered.number
            if found or closing:
                idle_seconds = 0.0
                continue
            await anyio.sleep(POLL_SECONDS)
            idle_seconds += POLL_SECONDS
            if idle_seconds >= KEEPALIVE_SECONDS:
                yield b":\n\n"
                idle_seconds = 0.0

    def _after(self, number: int, limit: int) -> list[NumberedEvent]:
        with self._resources.begin(write=False) as transaction:
            return events.events_after(transaction, number, limit)

    def _newest(self) -> int:
        with self._resources.begin(write=False) as transaction:
            return events.newest_number(transaction)


def _encode(numbered: NumberedEvent) -> bytes:
    return f"id: {numbered.number}\ndata: {json.dumps(numbered.event)}\n\n".encode()


def _number(field: str, text: str, minimum: int = 0, maximum: int = _MAX_NUMBER) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and minimum <= int(text) <= maximum):
        raise InvalidRequest([FieldError(field, f"must be a whole number from {minimum} to {maximum}")])
    return int(text)
