"""The generator processes of this machine, started together and collected together.

Rules of the file
- Each process sends every n-th request of one schedule; all count from one instant of the machine's monotonic clock.
- None outlives the block that it was started in.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from benchmarks.load.generator import Job, Progress, Ready, main
from benchmarks.load.plan import Plan
from benchmarks.load.records import Line
from benchmarks.load.wire import Target

STARTS_WITHIN_SECONDS = 60


class Unreachable(Exception):
    """A generator could not open its connections, or died."""


class Crew:
    """So many generators; together they are one machine's share of the plan."""

    def __init__(self, plan: Plan, scale: float, target: Target, processes: int, machine: int, machines: int) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipes: list[Any] = []
        self._processes = []
        for number in range(processes):
            ours, theirs = spawning.Pipe()
            job = Job(
                plan=plan,
                scale=scale,
                target=target,
                number=machine * processes + number,
                of=machines * processes,
                connections=_part(plan.connections, number, processes),
                samples=_part(plan.samples, number, processes),
            )
            process = spawning.Process(target=main, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def ready(self) -> None:
        """Wait until every connection of every generator is open. Raises Unreachable."""
        for pipe in self._pipes:
            if not pipe.poll(STARTS_WITHIN_SECONDS):
                raise Unreachable(f"a generator was not ready within {STARTS_WITHIN_SECONDS} seconds")
            said = _receive(pipe)
            if isinstance(said, Ready) and said.failure:
                raise Unreachable(said.failure)

    def start(self, at: float) -> None:
        """Let the schedule's second 0 be that instant of the monotonic clock."""
        self._tell(at)

    def stop(self) -> None:
        """Let them send no more; their lines come once what is out is answered."""
        self._tell(None)

    def lines(self, on_progress: Callable[[Progress], None]) -> list[Line]:
        """Wait for the end and give what all have counted, telling what they say meanwhile. Raises Unreachable."""
        collected: list[Line] = []
        while self._pipes:
            for pipe in wait(list(self._pipes)):
                said = _receive(pipe)
                if isinstance(said, Progress):
                    on_progress(said)
                else:
                    collected += said
                    self._pipes.remove(pipe)
        return collected

    def _tell(self, order: float | None) -> None:
        for pipe in self._pipes:
            pipe.send(order)


def _receive(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise Unreachable("a generator died; what it said stands above") from None


def _part(total: int, number: int, of: int) -> int:
    """A fair part of so many, at least one."""
    return max(1, total // of + (number < total % of))
