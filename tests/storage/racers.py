"""Two racers that do the same thing at the same time: two processes, or two threads of one process.

Invariants
- A contest is a function of (store URL or store, number of the racer, number of the round). Both racers run it after
  they have passed one barrier.
- An outcome is the result of the contest or the name of the TokensvcError that it raised. Any other exception fails the
  test.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol, Self

import sqlalchemy as sa

from tests.storage import races
from tokensvc.errors import TokensvcError
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store, open_store

_TIMEOUT_SECONDS = 60


class Outcome(NamedTuple):
    """The outcome of one racer."""

    value: Any
    error: str | None


class Racers(Protocol):
    """Two racers."""

    def race(self, url: str, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """Run the contest of this name in `races.py` with both racers on this store."""
        ...


class ThreadRacers:
    """Two threads that share each store."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2)
        self._barrier = threading.Barrier(2)
        self._stores: dict[str, Store] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        for store in self._stores.values():
            store.close()

    def race(self, url: str, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """See `Racers`."""
        run = getattr(races, contest)
        subject: Any = url if contest in races.BY_URL else self._stores.get(url) or open_store(url)
        if isinstance(subject, Store):
            self._stores[url] = subject
        runs = [self._threads.submit(_run, run, subject, who, race_round, self._barrier.wait) for who in (0, 1)]
        first, second = (run.result(_TIMEOUT_SECONDS) for run in runs)
        return first, second


class ProcessRacers:
    """Two spawned processes, each with its own connections."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._barrier = spawn.Barrier(2)  # must live until both processes have it
        self._pipes: list[Connection] = []
        self._processes = []
        for who in (0, 1):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs, self._barrier, who), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_TIMEOUT_SECONDS)

    def race(self, url: str, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """See `Racers`."""
        for pipe in self._pipes:
            pipe.send((url, contest, race_round))
        first, second = (self._receive(pipe) for pipe in self._pipes)
        return first, second

    def _receive(self, pipe: Connection) -> Outcome:
        assert pipe.poll(_TIMEOUT_SECONDS), "a racer did not finish in time"
        return Outcome(*pipe.recv())


class Race:
    """A store, and two racers on it."""

    def __init__(self, store: Store, url: str, racers: Racers) -> None:
        self.store = store
        self._url = url
        self._racers = racers

    def run(self, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """Run one round and return both outcomes."""
        return self._racers.race(self._url, contest, race_round)

    def one_wins(self, contest: str, race_round: int, error: str) -> Any:
        """Run one round in which one racer fails with this error; return the result of the other one."""
        outcomes = self.run(contest, race_round)
        assert sorted(str(outcome.error) for outcome in outcomes) == sorted(["None", error]), outcomes
        return next(outcome.value for outcome in outcomes if outcome.error is None)

    def both(self, contest: str, race_round: int) -> tuple[Any, Any]:
        """Run one round in which both racers succeed; return their results."""
        first, second = self.run(contest, race_round)
        assert (first.error, second.error) == (None, None)
        return first.value, second.value

    def unbind(self, **columns: None) -> None:
        """Set these columns of the deployment to NULL, for another round."""
        with write_transaction(self.store.engine) as connection:
            connection.execute(sa.update(schema.deployment).values(columns))


def _serve(pipe: Connection, barrier: threading.Barrier, who: int) -> None:
    url, store = "", None
    while True:
        try:
            wanted, contest, race_round = pipe.recv()
        except EOFError:
            return
        if contest in races.BY_URL:
            subject: Any = wanted
        else:
            if wanted != url and store is not None:
                store.close()
            if wanted != url:
                url, store = wanted, open_store(wanted)
            subject = store
        outcome = _run(getattr(races, contest), subject, who, race_round, barrier.wait)
        pipe.send(tuple(outcome))


def _run(
    contest: Callable[[Any, int, int], Any],
    subject: Any,
    who: int,
    race_round: int,
    wait_for_start: Callable[[], object],
) -> Outcome:
    wait_for_start()
    try:
        return Outcome(contest(subject, who, race_round), None)
    except TokensvcError as error:
        return Outcome(None, type(error).__name__)
