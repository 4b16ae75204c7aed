"""A whole run on this machine: generators, and what goes on beside them -> lines.

Rules of the file
- Ctrl-C ends the sending, not the run: what was recorded until then is collected and reported.
- The server is read at whole seconds of the run, so that its CPU time and the tokens of those seconds belong together.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from benchmarks.load.actions import Actions
from benchmarks.load.crew import Crew
from benchmarks.load.plan import Plan
from benchmarks.load.progress import Screen, say
from benchmarks.load.published import PublishedKeys
from benchmarks.load.records import Line, Reading, Run
from benchmarks.load.watched import Watched, find
from benchmarks.load.wire import Target
from benchmarks.report import machine

STARTS_IN_SECONDS = 0.5


class Share(NamedTuple):
    """Which part of the schedule this machine sends: machine `number` (from 0) of so many."""

    number: int = 0
    of: int = 1


class Order(NamedTuple):
    """What to do."""

    name: str
    plan: Plan
    scale: float
    target: Target
    processes: int
    share: Share
    start_at: datetime | None
    """None: at once."""
    environ: Mapping[str, str]
    """What actions see."""


def conduct(order: Order) -> list[Line]:
    """Send the plan. Raises Unreachable, or OSError and ValueError where the keys cannot be read."""
    published = PublishedKeys(order.target.url)
    published.start()
    actions = Actions(order.plan.action, order.environ, say)
    with Crew(order.plan, order.scale, order.target, order.processes, order.share.number, order.share.of) as crew:
        crew.ready()
        start_at = time.monotonic() + _seconds_until(order.start_at)
        started_at = datetime.fromtimestamp(time.time() + start_at - time.monotonic(), UTC)
        server = find(order.target)
        crew.start(start_at)
        actions.start(start_at)
        readings = _Readings(server, start_at, math.ceil(order.plan.seconds))
        screen = Screen(order.processes, order.plan.seconds)
        interrupted_after = None
        try:
            lines = crew.lines(screen.show)
        except KeyboardInterrupt:
            interrupted_after = time.monotonic() - start_at
            say("stopping: waiting for what is in flight; Ctrl-C again to give up")
            crew.stop()
            lines = crew.lines(screen.show)
        acted = actions.lines()
    seconds = order.plan.seconds if interrupted_after is None else max(interrupted_after, 0.0)
    run = Run(
        plan=order.name,
        digest=hashlib.sha256(f"{order.scale} {order.plan.model_dump_json()}".encode()).hexdigest()[:16],
        seconds=min(seconds, order.plan.seconds),
        warmup_seconds=order.plan.warmup_seconds,
        interrupted=interrupted_after is not None,
        share=f"{order.share.number + 1}/{order.share.of}",
        url=order.target.url,
        started_at=started_at,
        machine=machine(),
    )
    return [run, *readings.lines(), published.line(), *acted, *lines]


def _seconds_until(start_at: datetime | None) -> float:
    if start_at is None:
        return STARTS_IN_SECONDS
    return max(STARTS_IN_SECONDS, (start_at - datetime.now(UTC)).total_seconds())


class _Readings:
    """Reads the server at each whole second, in a thread of its own."""

    def __init__(self, server: Watched | None, start_at: float, seconds: int) -> None:
        self._server = server
        self._start_at = start_at
        self._seconds = seconds
        self._over = threading.Event()
        self._lines: list[Reading] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def lines(self) -> list[Reading]:
        """End it; what was read."""
        self._over.set()
        self._thread.join()
        return self._lines

    def _read(self) -> None:
        if self._server is None:
            return
        for second in range(self._seconds + 1):
            if self._over.wait(max(0.0, self._start_at + second - time.monotonic())):
                return
            self._lines.append(self._server.reading(second))
