"""The sender of one generator: sends each request at its intended time, whatever the server does.

Invariants
- The schedule alone defines the times. A request that finds no free connection waits, and its latency includes that.
- The scheduling delay of each request is recorded: the latencies of a late generator are its own, not the server's.
- Connections are opened before the start and reopened when they are lost. They are used in rotation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from benchmarks.load.connection import Connection, SentRequest
from benchmarks.load.reservoir import Reservoir
from benchmarks.load.tally import Tally
from benchmarks.load.wire import Request, Target

MAX_CONCURRENT_OPENS = 32
REOPEN_AFTER_SECONDS = 0.1
TIMEOUT_CHECK_SECONDS = 0.05
BURST = 50
"""A sender that is behind reads responses after this many requests, or they would seem late too."""


class Sender:
    """Sends the requests of one schedule to one target."""

    def __init__(
        self,
        target: Target,
        schedule: Iterator[float],
        requests: Iterator[Request],
        tally: Tally,
        reservoir: Reservoir,
        timeout_seconds: float,
    ) -> None:
        self._target = target
        self._tls = target.tls()
        self._schedule = schedule
        self._requests = requests
        self._tally = tally
        self._reservoir = reservoir
        self._timeout = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.Semaphore(MAX_CONCURRENT_OPENS)
        self._reopening: set[asyncio.Task[None]] = set()
        self._free: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._waiting: deque[SentRequest] = deque()
        self._started_at = 0.0
        self._next_due: float | None = None
        self._is_all_sent = False
        self._finished = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """The number of requests that are due and have no response yet."""
        return len(self._busy) + len(self._waiting)

    async def connect(self, connections: int) -> None:
        """Open the connections. Raises OSError if the target cannot be reached."""
        await asyncio.gather(*(self._open() for _ in range(connections)))

    async def wait_until_finished(self) -> None:
        """Wait until all requests are completed or abandoned, or there is nothing to send."""
        await self._finished.wait()

    async def run(self, start_at: float) -> None:
        """Send the schedule, starting at this time of the loop's clock, until all requests are completed or
        abandoned."""
        self._started_at = start_at
        if not self._is_all_sent:
            self._take_next()
            self._send_due()
        watch = asyncio.create_task(self._watch_timeouts())
        await self._finished.wait()
        watch.cancel()
        for task in self._reopening:
            task.cancel()
        for connection in self._free:
            connection.drop("the run is over")

    def stop(self) -> None:
        """Stop sending; `run` returns once requests in flight are completed."""
        self._next_due = None
        self._finish_sending()

    def abandon(self) -> None:
        """Stop waiting for requests in flight; `in_flight` is then the number without a response."""
        self.stop()
        self._finished.set()

    def completed(self, connection: Connection, sent: SentRequest, status: int, body: bytes) -> None:
        """Called by a connection."""
        now = self._loop.time()
        received, due = now - self._started_at, sent.due_at - self._started_at
        if self._tally.completed(due, received, sent.request, status, body):
            self._reservoir.offer(sent.request, body)
        self._busy.discard(connection)
        if connection.is_usable:
            self._release(connection)
        self._check_finished()

    def lost(self, connection: Connection, sent: SentRequest | None, reason: str) -> None:
        """Called by a connection."""
        if sent is not None:
            self._abandon_request(sent, reason)
        if connection in self._free:
            self._free.remove(connection)
        self._busy.discard(connection)
        self._check_finished()
        if not self._finished.is_set():
            task = asyncio.ensure_future(self._reopen())
            self._reopening.add(task)
            task.add_done_callback(self._reopening.discard)

    def _send_due(self) -> None:
        for _ in range(BURST):
            if self._next_due is None:
                self._finish_sending()
                return
            late = self._loop.time() - self._next_due
            if late < 0:
                self._loop.call_at(self._next_due, self._send_due)
                return
            sent = SentRequest(self._next_due, next(self._requests))
            self._tally.sent(self._next_due - self._started_at, late, waits=not self._free)
            if self._free:
                self._send(self._free.popleft(), sent)
            else:
                self._waiting.append(sent)
            self._take_next()
        self._loop.call_soon(self._send_due)

    def _finish_sending(self) -> None:
        self._is_all_sent = True
        self._check_finished()

    def _check_finished(self) -> None:
        if self._is_all_sent and not self.in_flight:
            self._finished.set()

    def _take_next(self) -> None:
        instant = next(self._schedule, None)
        self._next_due = None if instant is None else self._started_at + instant

    def _send(self, connection: Connection, sent: SentRequest) -> None:
        self._busy.add(connection)
        connection.send(sent)

    def _release(self, connection: Connection) -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    def _abandon_request(self, sent: SentRequest, reason: str) -> None:
        due, now = sent.due_at - self._started_at, self._loop.time() - self._started_at
        self._tally.unfinished(due, now, sent.request, reason)

    async def _watch_timeouts(self) -> None:
        while True:
            before = self._loop.time() - self._timeout
            while self._waiting and self._waiting[0].due_at < before:
                self._abandon_request(self._waiting.popleft(), "timeout, never sent")
            self._check_finished()
            for connection in list(self._busy):
                if connection.sent is not None and connection.sent.due_at < before:
                    connection.drop("timeout")
            await asyncio.sleep(TIMEOUT_CHECK_SECONDS)

    async def _open(self) -> None:
        async with self._opening:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), self._target.host, self._target.port, ssl=self._tls
            )
        self._release(connection)

    async def _reopen(self) -> None:
        while True:
            await asyncio.sleep(REOPEN_AFTER_SECONDS)
            try:
                return await self._open()
            except OSError:
                continue
