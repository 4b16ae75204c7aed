"""A whole run on this machine: generators, and what goes on beside them -> lines.

Rules of the file
- Before the start an interrupt ends the command; from then on it ends the sending, not the run: what was recorded
  until then is collected and reported.
- A run that cannot begin is a run with a failure and no counts, so that it is reported like any other.
- The server is read at whole seconds of the run, so that its CPU time and the tokens of those seconds belong together.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from benchmarks.load.actions import Actions
from benchmarks.load.limits import Limits
from benchmarks.load.plan import Plan
from benchmarks.load.progress import Screen, say
from benchmarks.load.published_keys import PublishedKeys
from benchmarks.load.records import Line, Reading, Run, StageOf
from benchmarks.load.server_stats import Watched, find
from benchmarks.load.signals import Interrupts
from benchmarks.load.wire import Target
from benchmarks.load.worker_pool import Crew
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
    limits: Limits = Limits()


class ReadyRun(NamedTuple):
    """A run that is ready to start: the keys are read and every connection is open."""

    published: PublishedKeys
    crew: Crew


@contextmanager
def prepared(order: Order) -> Iterator[ReadyRun]:
    """Raises Unreachable, or OSError and ValueError where the keys cannot be read."""
    published = PublishedKeys(order.target.url)
    published.start()
    generators = Crew(order.plan, order.scale, order.target, order.processes, order.share.number, order.share.of)
    with generators as crew:
        crew.ready()
        yield ReadyRun(published, crew)


def conduct(order: Order, ready: ReadyRun, interrupts: Interrupts) -> list[Line]:
    """Send the plan and collect what was recorded, also of a run that was interrupted."""
    crew = ready.crew
    start_at = time.monotonic() + _seconds_until(order.start_at)
    started_at = datetime.fromtimestamp(time.time() + start_at - time.monotonic(), UTC)
    actions = Actions(order.plan.action, order.environ, say)
    server = find(order.target)
    crew.start(start_at)
    actions.start(start_at)
    readings = _Readings(server, start_at, math.ceil(order.plan.seconds))
    screen = Screen(order.processes, order.plan.seconds)
    lines = crew.lines(interrupts, screen.show, screen.lose)
    finished_at = interrupts.first_at
    acted = actions.lines(lambda: interrupts.count > 1)
    sent = order.plan.seconds if finished_at is None else max(finished_at - start_at, 0.0)
    run = _run(order, started_at, min(sent, order.plan.seconds), crew.lost, is_interrupted=finished_at is not None)
    return [run, *readings.lines(), ready.published.line(), *acted, *lines]


def not_begun(order: Order, reason: str) -> list[Line]:
    """The lines of a run that could not begin."""
    return [_run(order, datetime.now(UTC), 0.0, [reason])]


def _run(
    order: Order, started_at: datetime, seconds: float, failures: Sequence[str], *, is_interrupted: bool = False
) -> Run:
    return Run(
        plan=order.name,
        digest=hashlib.sha256(f"{order.scale} {order.plan.model_dump_json()}".encode()).hexdigest()[:16],
        seconds=seconds,
        warmup_seconds=order.plan.warmup_seconds,
        interrupted=is_interrupted,
        share=f"{order.share.number + 1}/{order.share.of}",
        url=order.target.url,
        started_at=started_at,
        machine=machine(),
        title=order.plan.title,
        scale=order.scale,
        stages=tuple(
            StageOf(seconds=stage.seconds, from_rate=stage.from_rate, to_rate=stage.to_rate)
            for stage in (row.scaled(order.scale) for row in order.plan.stage)
        ),
        limits=order.limits,
        failures=tuple(failures),
    )


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
            try:
                self._lines.append(self._server.reading(second))
            except OSError:  # of psutil's own errors nothing gets here; the figures are worth more than one reading
                continue
