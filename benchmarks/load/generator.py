"""A generator process: from its job to its lines.

Rules of the file
- Everything is made before the start: requests as bytes, connections, and a heap that the collector leaves alone.
- The parent sends orders over a pipe: an instant of the monotonic clock to start at; then, perhaps, None to send no
  more, and None again to wait no longer. The end of the parent ends this process.
- Signals that reach the whole process group or service are the parent's to act on: here they are ignored.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

from benchmarks.load import pacer, signals, wire
from benchmarks.load.clock import punctual_loop
from benchmarks.load.latency import FINE, percentile
from benchmarks.load.plan import Plan
from benchmarks.load.records import Errors, Generator, KindRecord, Line, Sample, SecondRecord
from benchmarks.load.reservoir import Reservoir, SampledResponse
from benchmarks.load.sender import Sender
from benchmarks.load.tally import Second, Tally


class Job(NamedTuple):
    """What one generator does: every `of`-th request of the plan, from number `number` (from 0) on."""

    plan: Plan
    scale: float
    target: wire.Target
    number: int
    total: int
    connections: int
    samples: int


class Ready(NamedTuple):
    """Said once the connections are open; `failure` says why they are not."""

    failure: str | None = None


class Progress(NamedTuple):
    """Said once a second."""

    second: int
    last: Second
    in_flight: int
    late_p99_ms: float


class ResourceUsage(NamedTuple):
    """What the run took, and how many requests it left without an answer."""

    cpu_seconds: float
    wall_seconds: float
    abandoned: int


def main(job: Job, pipe: Pipe) -> None:
    """The process's body."""
    signals.ignore()
    with asyncio.Runner(loop_factory=punctual_loop) as runner:
        runner.run(_generate(job, pipe))


async def _generate(job: Job, pipe: Pipe) -> None:
    plan = job.plan
    seed = plan.seed * 1000 + job.number
    tally, reservoir = Tally(plan.warmup_seconds), Reservoir(job.samples, seed)
    stages = [stage.scaled(job.scale) for stage in plan.stage]
    schedule = pacer.share(pacer.instants(stages, plan.arrivals, plan.seed), job.number, job.total)
    requests = wire.requests(plan.request, job.target, seed)
    attack = Sender(job.target, schedule, requests, tally, reservoir, plan.timeout_seconds)
    try:
        await attack.connect(job.connections)
    except OSError as failure:
        pipe.send(Ready(f"{job.target.url} cannot be reached: {failure}"))
        return
    orders = _orders(pipe)
    pipe.send(Ready())
    start_at = await orders.get()
    if start_at is None:
        return
    gc.collect()
    gc.freeze()
    stopping = asyncio.create_task(_stop(attack, orders))
    with suppress(TimeoutError):
        await asyncio.wait_for(attack.wait_until_finished(), start_at - time.monotonic() - 0.01)
    cpu_before = time.process_time()
    tasks = [asyncio.create_task(_report_progress(attack, tally, pipe, start_at)), stopping]
    await attack.run(start_at)
    for task in tasks:
        task.cancel()
    spent = ResourceUsage(time.process_time() - cpu_before, max(0.0, time.monotonic() - start_at), attack.in_flight)
    with suppress(OSError):  # the parent is gone
        pipe.send(list(_records(job, tally, reservoir, spent)))


def _orders(pipe: Pipe) -> asyncio.Queue[float | None]:
    """What the parent sends: an instant to start at, or None; None twice when it has died."""
    orders: asyncio.Queue[float | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def receive() -> None:
        try:
            orders.put_nowait(pipe.recv())
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            orders.put_nowait(None)
            orders.put_nowait(None)

    loop.add_reader(pipe.fileno(), receive)
    return orders


async def _stop(attack: Sender, orders: asyncio.Queue[float | None]) -> None:
    await orders.get()
    attack.stop()
    await orders.get()
    attack.abandon()


async def _report_progress(attack: Sender, tally: Tally, pipe: Pipe, start_at: float) -> None:
    second = 0
    while True:
        await asyncio.sleep(start_at + second + 1 - time.monotonic())
        late = percentile(tally.lateness, 99, FINE)
        with suppress(OSError):  # the parent is gone: `_stop` ends the run
            pipe.send(Progress(second, tally.seconds[second], attack.in_flight, late))
        second += 1


def _records(job: Job, tally: Tally, reservoir: Reservoir, spent: ResourceUsage) -> Iterator[Line]:
    yield Generator(
        number=job.number,
        lateness=tally.lateness,
        waited=tally.waited,
        cpu_seconds=spent.cpu_seconds,
        wall_seconds=spent.wall_seconds,
        abandoned=spent.abandoned,
    )
    for number, second in sorted(tally.seconds.items()):
        yield SecondRecord(
            number=number,
            sent=second.sent,
            failed=second.failed,
            completed=second.completed,
            tokens=second.tokens,
            latencies=second.latencies,
            errors=dict(second.errors),
        )
    for name, latencies in tally.kinds.items():
        yield KindRecord(name=name, latencies=latencies, succeeded=tally.succeeded[name])
    if tally.errors:
        yield Errors(counts=dict(tally.errors))
    for sample in reservoir.samples:
        yield from _samples(sample)


def _samples(sample: SampledResponse) -> Iterator[Sample]:
    """One token of an answer; of a batch the one in its middle. A body of any other form is a sample without a token,
    which fails the run with its reason."""
    results = _results(sample.body)
    position = min(len(results), len(sample.request.token_requests)) // 2
    result = results[position] if results else {}
    if not isinstance(result, dict):
        result = {}
    if "problem" not in result:
        token_request = sample.request.token_requests[position]
        token = str(result.get("token", ""))
        yield Sample(
            token=token,
            channel_arn=token_request.channel_arn,
            viewer_id=token_request.viewer_id,
            received_at=sample.received_at,
        )


def _results(body: bytes) -> list[Any]:
    try:
        response = json.loads(body)
    except ValueError:
        return []
    results = response.get("results", [response]) if isinstance(response, dict) else None
    return results if isinstance(results, list) else []
