"""uvicorn's `RequestResponseCycle`: a request that a task answers, as our protocol uses it.

Invariants
- A cycle never closes the transport itself: the protocol does, which knows whether the client is still sending, and
  whether it is still this cycle that responds (an application may fail behind its complete response).
- A cycle that wants its body does not resume reading while what is behind it has to wait.
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
    """Reading stays paused, whatever asks to resume it."""

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            super().pause_reading()

    def resume_reading(self) -> None:
        if not self.reading_held and not self._transport.is_closing():
            super().resume_reading()


class _Expecting(RequestResponseCycle):
    """A request whose client may wait for `100 Continue` before it sends the body.

    Without that, but with a response, the client may send the body or go on with its next request; nothing that comes
    then can be read safely, so such a response is the last.
    """

    async def send(self, message: ASGISendEvent) -> None:
        if self.waiting_for_100_continue and self.more_body:
            self.keep_alive = False
        await super().send(message)


class CycleTransport:
    """All of a transport that a cycle uses."""

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
    """The cycle of a request of whose body this much has arrived."""
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
    """Let the application know that its client sends no more, unless it has responded completely."""
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False  # or it would still write that when its body is asked for
    cycle.message_event.set()
