"""The generator processes of this machine, started together and collected together.

Rules of the file
- Each process sends every n-th request of one schedule; all count from one instant of the machine's monotonic clock.
- None outlives the block that it was started in.
- A generator that dies costs its own lines alone: the others' are still collected, and it is reported in `lost`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from benchmarks.load import signals
from benchmarks.load.generator import Job, Progress, Ready, main
from benchmarks.load.plan import Plan
from benchmarks.load.progress import print_line
from benchmarks.load.records import Line
from benchmarks.load.signals import Interrupts
from benchmarks.load.wire import Target

START_TIMEOUT_SECONDS = 60


class GeneratorFailed(Exception):
    """A generator could not open its connections, or died."""


class WorkerPool:
    """So many generators; together they are one machine's share of the plan."""

    def __init__(self, plan: Plan, scale: float, target: Target, processes: int, machine: int, machines: int) -> None:
        self._jobs = [
            Job(
                plan=plan,
                scale=scale,
                target=target,
                number=machine * processes + number,
                total=machines * processes,
                connections=_portion(plan.connections, number, processes),
                samples=_portion(plan.samples, number, processes),
            )
            for number in range(processes)
        ]
        self._pipes: list[Any] = []
        self._processes: list[Any] = []
        self.lost: list[str] = []
        """What became of each generator that died."""

    def __enter__(self) -> Self:
        try:
            with signals.blocked():  # a generator must not die of one before it can ignore it
                self._start_processes()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start_processes(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        for job in self._jobs:
            ours, theirs = spawning.Pipe()
            process = spawning.Process(target=main, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def _end(self) -> None:
        for process in self._processes:
            process.kill()  # they ignore SIGTERM
            process.join()

    def ready(self) -> None:
        """Wait until every connection of every generator is open. Raises Unreachable."""
        for pipe in self._pipes:
            if not pipe.poll(START_TIMEOUT_SECONDS):
                raise GeneratorFailed(f"a generator was not ready within {START_TIMEOUT_SECONDS} seconds")
            message = _receive(pipe)
            if isinstance(message, Ready) and message.failure:
                raise GeneratorFailed(message.failure)

    def start(self, at: float) -> None:
        """Let the schedule's second 0 be that instant of the monotonic clock."""
        self._send(at)

    def lines(
        self, signals: Interrupts, on_progress: Callable[[Progress], None], on_death: Callable[[], None]
    ) -> list[Line]:
        """Wait for the end and give what all have counted, reporting progress meanwhile. The first interrupt ends the
        sending, the second the waiting for what is in flight."""
        collected: list[Line] = []
        while self._pipes:
            for ready in wait([*self._pipes, signals.fileno()]):
                if ready == signals.fileno():
                    signals.clear()
                    print_line(_STOPPING if signals.count == 1 else _ABANDONING)
                    self._send(None)
                    if signals.count > 1:
                        self._send(None)  # in case both came at once; a third None is not read
                    continue
                try:
                    received = _receive(ready)
                except GeneratorFailed as death:
                    self.lost.append(str(death))
                    self._pipes.remove(ready)
                    on_death()
                    continue
                if isinstance(received, Progress):
                    on_progress(received)
                else:
                    collected += received
                    self._pipes.remove(ready)
        return collected

    def _send(self, order: float | None) -> None:
        for pipe in self._pipes:
            with suppress(OSError):  # a generator that has died is noticed where its lines are awaited
                pipe.send(order)


_STOPPING = "stopping: waiting for what is in flight; interrupt again to report without it"
_ABANDONING = "not waiting any longer"


def _receive(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        raise GeneratorFailed("a generator process died; its own output is above") from None


def _portion(amount: int, number: int, total: int) -> int:
    """The share of process `number` (from 0), as equal as possible and at least one."""
    return max(1, amount // total + (number < amount % total))
