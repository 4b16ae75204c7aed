"""Adapts uvicorn's `RequestResponseCycle`, which runs the task side of a request, to our protocol.

Invariants
- A cycle never closes the transport itself. The protocol does: it knows whether the client is still sending, and
  whether the cycle is still the one that responds (an application may fail after its complete response).
- A cycle that wants its body does not resume reading while what follows it has to wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_uvicorn_log = logging.getLogger("uvicorn.error")


class Flow(FlowControl):
    """uvicorn's flow control of one connection, with a hold on reading."""

    reading_held = False
    """While true, reading stays paused and `resume_reading` does nothing."""

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            super().pause_reading()

    def resume_reading(self) -> None:
        if not self.reading_held and not self._transport.is_closing():
            super().resume_reading()


class _Expecting(RequestResponseCycle):
    """A request whose client may wait for `100 Continue` before it sends the body.

    If it gets a response instead, the client may send the body or its next request. What it sends then cannot be parsed
    safely, so such a response is the last.
    """

    async def send(self, message: ASGISendEvent) -> None:
        if self.waiting_for_100_continue and self.more_body:
            self.keep_alive = False
        await super().send(message)


class CycleTransport:
    """The part of a transport that a cycle uses."""

    __slots__ = ("_on_close", "is_closing", "write")

    def __init__(
        self,
        write: Callable[[bytes], object],
        on_close: Callable[[CycleTransport], object],
        is_closing: Callable[[], bool],
    ) -> None:
        self.write = write
        self._on_close = on_close
        self.is_closing = is_closing

    def close(self) -> None:
        self._on_close(self)


def new_cycle(
    scope: Scope,
    body: bytes,
    transport: CycleTransport,
    flow: Flow,
    default_headers: list[tuple[bytes, bytes]],
    on_response: Callable[[], None],
    *,
    expects_continue: bool,
    keep_alive: bool,
) -> RequestResponseCycle:
    """The cycle of a request; `body` is the part of its body that has arrived."""
    cycle = (_Expecting if expects_continue else RequestResponseCycle)(
        scope=scope,  # type: ignore[arg-type] # starlette's name for the same mapping
        transport=transport,  # type: ignore[arg-type] # all of it that is used
        flow=flow,
        logger=_uvicorn_log,
        access_logger=_uvicorn_log,  # not used: access_log is False
        access_log=False,
        default_headers=default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=expects_continue,
        keep_alive=keep_alive,
        on_response=on_response,
    )
    if body:
        cycle.body += body
        cycle.message_event.set()
    return cycle


def disconnect(cycle: RequestResponseCycle) -> None:
    """Tell the application that its client has disconnected, unless its response is complete."""
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False  # or it would still write that when the body is requested
    cycle.message_event.set()
