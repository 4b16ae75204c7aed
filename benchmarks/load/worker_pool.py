"""The generator processes of this machine.

Invariants
- Each process sends every n-th request of one schedule; all start at the same time of the machine's monotonic clock.
- No process outlives the block in which it was started.
- If a generator dies, only its lines are missing: the others' are collected, and the failure is in `lost`.
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
    """The generators that together send one machine's share of the plan."""

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
        """A message for each generator that died."""

    def __enter__(self) -> Self:
        try:
            with signals.blocked():  # a generator must not be killed before it can ignore them
                self._start_processes()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start_processes(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        for job in self._jobs:
            parent_end, child_end = spawning.Pipe()
            process = spawning.Process(target=main, args=(job, child_end), daemon=True)
            process.start()
            child_end.close()
            self._pipes.append(parent_end)
            self._processes.append(process)

    def _end(self) -> None:
        for process in self._processes:
            process.kill()  # they ignore SIGTERM
            process.join()

    def ready(self) -> None:
        """Wait until every connection of every generator is open. Raises GeneratorFailed."""
        for pipe in self._pipes:
            if not pipe.poll(START_TIMEOUT_SECONDS):
                raise GeneratorFailed(f"a generator was not ready within {START_TIMEOUT_SECONDS} seconds")
            message = _receive(pipe)
            if isinstance(message, Ready) and message.failure:
                raise GeneratorFailed(message.failure)

    def start(self, at: float) -> None:
        """Start the schedule at this time of the monotonic clock."""
        self._send(at)

    def lines(
        self, signals: Interrupts, on_progress: Callable[[Progress], None], on_death: Callable[[], None]
    ) -> list[Line]:
        """Wait for the end and return the lines of all generators, reporting progress meanwhile.

        The first interrupt stops the sending, the second the waiting for requests in flight.
        """
        collected: list[Line] = []
        while self._pipes:
            for ready in wait([*self._pipes, signals.fileno()]):
                if ready == signals.fileno():
                    signals.clear()
                    print_line(_STOPPING if signals.count == 1 else _ABANDONING)
                    self._send(None)
                    if signals.count > 1:
                        self._send(None)  # in case both came together; a third None is not read
                    continue
                try:
                    received = _receive(ready)
                except GeneratorFailed as failure:
                    self.lost.append(str(failure))
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
            with suppress(OSError):  # `lines` notices a generator that has died
                pipe.send(order)


_STOPPING = "stopping: waiting for requests in flight; interrupt again to report without them"
_ABANDONING = "no longer waiting for requests in flight"


def _receive(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        raise GeneratorFailed("a generator process died; its output is above") from None


def _portion(amount: int, number: int, total: int) -> int:
    """The share of process `number` (from 0), as equal as possible and at least one."""
    return max(1, amount // total + (number < amount % total))
