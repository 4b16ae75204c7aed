"""A generator process: from its job to its records.

Invariants
- Everything is prepared before the start: requests as bytes, connections, and a heap that the garbage collector skips.
- The parent sends orders over a pipe: the start time on the monotonic clock; later, if at all, None to stop sending and
  None again to stop waiting. When the parent ends, this process ends.
- Signals to the whole process group are ignored here: the parent handles them.
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
    """The work of generator `number` (from 0) of `total`: every `total`-th request of the plan."""

    plan: Plan
    scale: float
    target: wire.Target
    number: int
    total: int
    connections: int
    samples: int


class Ready(NamedTuple):
    """Sent when the connections are open; `failure` is the reason if they are not."""

    failure: str | None = None


class Progress(NamedTuple):
    """Sent once per second."""

    second: int
    last: Second
    in_flight: int
    delay_p99_ms: float


class ResourceUsage(NamedTuple):
    """CPU and wall-clock time of the run, and the number of requests left without a response."""

    cpu_seconds: float
    wall_seconds: float
    abandoned: int


def main(job: Job, pipe: Pipe) -> None:
    """The entry point of the process."""
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
    sender = Sender(job.target, schedule, requests, tally, reservoir, plan.timeout_seconds)
    try:
        await sender.connect(job.connections)
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
    stopping = asyncio.create_task(_stop(sender, orders))
    with suppress(TimeoutError):
        await asyncio.wait_for(sender.wait_until_finished(), start_at - time.monotonic() - 0.01)
    cpu_before = time.process_time()
    tasks = [asyncio.create_task(_report_progress(sender, tally, pipe, start_at)), stopping]
    await sender.run(start_at)
    for task in tasks:
        task.cancel()
    usage = ResourceUsage(time.process_time() - cpu_before, max(0.0, time.monotonic() - start_at), sender.in_flight)
    with suppress(OSError):  # the parent has ended
        pipe.send(list(_records(job, tally, reservoir, usage)))


def _orders(pipe: Pipe) -> asyncio.Queue[float | None]:
    """A queue of what the parent sends, a start time or None; None twice when the parent has ended."""
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


async def _stop(sender: Sender, orders: asyncio.Queue[float | None]) -> None:
    await orders.get()
    sender.stop()
    await orders.get()
    sender.abandon()


async def _report_progress(sender: Sender, tally: Tally, pipe: Pipe, start_at: float) -> None:
    second = 0
    while True:
        await asyncio.sleep(start_at + second + 1 - time.monotonic())
        late = percentile(tally.scheduling_delays, 99, FINE)
        with suppress(OSError):  # the parent has ended: `_stop` ends the run
            pipe.send(Progress(second, tally.seconds[second], sender.in_flight, late))
        second += 1


def _records(job: Job, tally: Tally, reservoir: Reservoir, usage: ResourceUsage) -> Iterator[Line]:
    yield Generator(
        number=job.number,
        scheduling_delays=tally.scheduling_delays,
        waited=tally.waited,
        cpu_seconds=usage.cpu_seconds,
        wall_seconds=usage.wall_seconds,
        abandoned=usage.abandoned,
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
    """One token of a response; of a batch, the one in the middle.

    A body in any other format yields a sample without a token, which makes the run fail with a reason.
    """
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
