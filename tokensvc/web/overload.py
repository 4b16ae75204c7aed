"""Decides which requests a worker handles, so that those it accepts are answered soon whatever arrives.

A worker can be given more than it can do. What it then accepts beyond its rate waits, and the wait grows until every
client has given up. Two bounds prevent that; what exceeds them gets 503 `overloaded` before any work is done for it: no
authentication, no JSON, not even a signature's share of a batch. A request whose body arrives when the places have been
taken has been authenticated, and gets 503 before its body is parsed.

Invariants
- At most `max_in_flight` requests are in flight: those handled by tasks, from their start to their response, and those
  of the fast path, which all end with the event loop's iteration. A task that waits for its request's body does not
  count: a client that sends none costs a connection, of which the server has a bounded number, and no other client's
  place. Once the body is there, the task needs a place again.
- No queue stands. The requests of one iteration wait for each other; that is a worker's queue. As in CoDel (RFC 8289,
  section 3), its length at one moment says nothing: a burst is served whole. Only when every iteration of
  INTERVAL_SECONDS, two at least, took longer than TARGET_SECONDS and had MIN_STANDING requests, with no pause between
  them, is there more than can be done. From then on, each iteration accepts ADMITTED_SECONDS of work and rejects the
  rest immediately.
- A few clients, each with one request at a time, are never rejected: on a machine that is busy with other things their
  iterations take long too, but rejecting them would help nobody.
- Rejecting ends when less than a tenth was rejected during INTERVAL_SECONDS, or when nothing arrived for as long.
- What an iteration accepted is answered before its first rejection is written, so rejections delay no token.
- Probes and scrapes are exempt. They wait for no longer than one iteration.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from starlette.types import Message, Receive

from tokensvc.errors import Overloaded
from tokensvc.http.problem_details import error_response

TARGET_SECONDS = 0.025
"""About 300 tokens."""
MIN_STANDING = 48
INTERVAL_SECONDS = 0.1
ADMITTED_SECONDS = 0.002
MIN_ADMITTED = 4
"""Accepted by each iteration even when one takes longer than ADMITTED_SECONDS together."""
_TOO_MANY = "this worker has more requests than it can handle; retry later"
REJECTION = error_response(Overloaded(_TOO_MANY))
"""Made once: a rejection has to be cheap."""


class StandingQueue:
    """Whether more arrives than can be done, from the iterations of the event loop. Times are in seconds, on one
    monotonic clock."""

    def __init__(self) -> None:
        self.limit: int | None = None
        """How many requests an iteration may accept; None while there is no standing queue."""
        self._above_since: float | None = None
        """The start of the uninterrupted iterations that took longer than the target."""
        self._last_end = -math.inf
        self._request_seconds = 0.0
        """What a request costs, as a moving average."""
        self._window_start = 0.0
        self._seen = self._rejected = 0
        """In this window."""

    def start(self, now: float) -> None:
        """An iteration starts, with its first request."""
        pause = now - self._last_end
        if pause > TARGET_SECONDS:
            self._above_since = None
        if pause > INTERVAL_SECONDS:
            self.limit = None

    def end(self, started: float, now: float, *, accepted: int, accepted_seconds: float, rejected: int) -> None:
        """The iteration ends. `accepted_seconds` is the part of it that was spent on what it accepted."""
        self._last_end = now
        if self.limit is None:
            self._end_unlimited(started, now, accepted, accepted_seconds)
            return
        self._seen += accepted + rejected
        self._rejected += rejected
        if rejected and accepted:  # otherwise the time includes what else the event loop did
            self._request_seconds += (accepted_seconds / accepted - self._request_seconds) / 8
            self.limit = _limit(self._request_seconds)
        if now - self._window_start >= INTERVAL_SECONDS:
            if self._rejected * 10 < self._seen:
                self.limit = self._above_since = None
            self._start_window(now)

    def _end_unlimited(self, started: float, now: float, accepted: int, accepted_seconds: float) -> None:
        if now - started <= TARGET_SECONDS or accepted < MIN_STANDING:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = started
        elif now - self._above_since >= INTERVAL_SECONDS:
            self._request_seconds = accepted_seconds / accepted
            self.limit = _limit(self._request_seconds)
            self._start_window(now)

    def _start_window(self, now: float) -> None:
        self._window_start, self._seen, self._rejected = now, 0, 0


def _limit(request_seconds: float) -> int:
    return max(MIN_ADMITTED, int(ADMITTED_SECONDS / request_seconds)) if request_seconds > 0 else MIN_ADMITTED


class OverloadLimit:
    """The limit on one worker's requests."""

    def __init__(self, max_in_flight: int, monotonic: Callable[[], float], flush: Callable[[], None]) -> None:
        """`flush` responds to every accepted request of the fast path."""
        self._max_in_flight = max_in_flight
        self._monotonic = monotonic
        self._flush = flush
        self._queue = StandingQueue()
        self._tasks = 0
        self._is_running = False
        """Whether this iteration has had a request."""
        self._started = self._rejecting_since = 0.0
        self._room = self._accepted = self._rejected = 0
        """In this iteration."""

    def admit(self) -> bool:
        """Whether to handle this request, which ends with this iteration."""
        if not self._is_running:
            self._start()
        if self._accepted >= self._room:
            if not self._rejected:
                self._flush()
                self._rejecting_since = self._monotonic()
            self._rejected += 1
            return False
        self._accepted += 1
        return True

    def withdraw(self) -> None:
        """The request that was just admitted is handled by a task instead, which asks again."""
        self._accepted -= 1

    def admit_task(self) -> bool:
        """Whether to handle this request, which ends with `task_done`."""
        if not self.admit():
            return False
        self._tasks += 1
        return True

    def outside(self, receive: Receive) -> Receive:
        """`receive` for an admitted task, which is not in flight while it waits. Raises Overloaded if others have taken
        all places meanwhile."""

        async def receive_outside() -> Message:
            self._tasks -= 1
            try:
                message = await receive()
            finally:
                self._tasks += 1
            if self._tasks > self._max_in_flight:
                raise Overloaded(_TOO_MANY)
            return message

        return receive_outside

    def task_done(self) -> None:
        """A task that was admitted has its response."""
        self._tasks -= 1

    def _start(self) -> None:
        asyncio.get_running_loop().call_soon(self._end)
        self._is_running = True
        self._started = self._monotonic()
        self._queue.start(self._started)
        self._room = self._max_in_flight - self._tasks
        if self._queue.limit is not None:
            self._room = min(self._room, self._queue.limit)

    def _end(self) -> None:
        self._flush()
        now, accepted, rejected = self._monotonic(), self._accepted, self._rejected
        self._is_running, self._accepted, self._rejected = False, 0, 0
        accepted_seconds = (self._rejecting_since if rejected else now) - self._started
        self._queue.end(self._started, now, accepted=accepted, accepted_seconds=accepted_seconds, rejected=rejected)
