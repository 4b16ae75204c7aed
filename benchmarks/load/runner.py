"""A whole run on this machine: the generators and the concurrent tasks -> lines.

Invariants
- Before the start an interrupt ends the command; after it, an interrupt stops the sending, and what was recorded until
  then is collected and reported.
- A run that cannot start is a run with a failure and no counts, so that it is reported like any other.
- The server is read at whole seconds of the run, so that its CPU time matches the tokens of those seconds.
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
from benchmarks.load.progress import ProgressDisplay, print_line
from benchmarks.load.published_keys import PublishedKeys
from benchmarks.load.records import Line, Reading, Run, StageRecord
from benchmarks.load.server_stats import WatchedServer, find_server
from benchmarks.load.signals import Interrupts
from benchmarks.load.wire import Target
from benchmarks.load.worker_pool import WorkerPool
from benchmarks.report import machine

START_DELAY_SECONDS = 0.5


class Share(NamedTuple):
    """The part of the schedule that this machine sends: machine `number` (from 0) of `total`."""

    number: int = 0
    total: int = 1


class RunConfig(NamedTuple):
    """The configuration of a run."""

    name: str
    plan: Plan
    scale: float
    target: Target
    processes: int
    share: Share
    start_at: datetime | None
    """None means immediately."""
    environ: Mapping[str, str]
    """The environment of the actions."""
    limits: Limits = Limits()


class ReadyRun(NamedTuple):
    """A run that is ready to start: the keys are read and every connection is open."""

    published: PublishedKeys
    pool: WorkerPool


@contextmanager
def prepared_run(config: RunConfig) -> Iterator[ReadyRun]:
    """Read the keys and open the connections.

    Raises GeneratorFailed if a connection cannot be opened, OSError or ValueError if the keys cannot be read.
    """
    published = PublishedKeys(config.target.url)
    published.start()
    generators = WorkerPool(
        config.plan, config.scale, config.target, config.processes, config.share.number, config.share.total
    )
    with generators as pool:
        pool.ready()
        yield ReadyRun(published, pool)


def execute(config: RunConfig, ready: ReadyRun, interrupts: Interrupts) -> list[Line]:
    """Send the plan and collect the records, also of an interrupted run."""
    pool = ready.pool
    start_at = time.monotonic() + _seconds_until(config.start_at)
    started_at = datetime.fromtimestamp(time.time() + start_at - time.monotonic(), UTC)
    actions = Actions(config.plan.action, config.environ, print_line)
    server = find_server(config.target)
    pool.start(start_at)
    actions.start(start_at)
    readings = _Readings(server, start_at, math.ceil(config.plan.seconds))
    progress = ProgressDisplay(config.processes, config.plan.seconds)
    lines = pool.lines(interrupts, progress.show, progress.remove_generator)
    finished_at = interrupts.first_at
    action_results = actions.results(lambda: interrupts.count > 1)
    sent = config.plan.seconds if finished_at is None else max(finished_at - start_at, 0.0)
    run = _run(config, started_at, min(sent, config.plan.seconds), pool.lost, is_interrupted=finished_at is not None)
    return [run, *readings.lines(), ready.published.line(), *action_results, *lines]


def not_started(config: RunConfig, reason: str) -> list[Line]:
    """The lines of a run that could not start."""
    return [_run(config, datetime.now(UTC), 0.0, [reason])]


def _run(
    config: RunConfig, started_at: datetime, seconds: float, failures: Sequence[str], *, is_interrupted: bool = False
) -> Run:
    return Run(
        plan=config.name,
        digest=hashlib.sha256(f"{config.scale} {config.plan.model_dump_json()}".encode()).hexdigest()[:16],
        seconds=seconds,
        warmup_seconds=config.plan.warmup_seconds,
        interrupted=is_interrupted,
        share=f"{config.share.number + 1}/{config.share.total}",
        url=config.target.url,
        started_at=started_at,
        machine=machine(),
        title=config.plan.title,
        scale=config.scale,
        stages=tuple(
            StageRecord(seconds=stage.seconds, from_rate=stage.from_rate, to_rate=stage.to_rate)
            for stage in (row.scaled(config.scale) for row in config.plan.stage)
        ),
        limits=config.limits,
        failures=tuple(failures),
    )


def _seconds_until(start_at: datetime | None) -> float:
    if start_at is None:
        return START_DELAY_SECONDS
    return max(START_DELAY_SECONDS, (start_at - datetime.now(UTC)).total_seconds())


class _Readings:
    """Reads the server at each whole second, in a thread."""

    def __init__(self, server: WatchedServer | None, start_at: float, seconds: int) -> None:
        self._server = server
        self._start_at = start_at
        self._seconds = seconds
        self._finished = threading.Event()
        self._lines: list[Reading] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def lines(self) -> list[Reading]:
        """Stop reading; the readings so far."""
        self._finished.set()
        self._thread.join()
        return self._lines

    def _read(self) -> None:
        if self._server is None:
            return
        for second in range(self._seconds + 1):
            if self._finished.wait(max(0.0, self._start_at + second - time.monotonic())):
                return
            try:
                self._lines.append(self._server.reading(second))
            except OSError:  # psutil's own errors are handled in `reading`; the run is worth more than one reading
                continue
