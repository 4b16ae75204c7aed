"""Two at the same moment: real processes, or threads of one.

Rules of the file
- A contest is a function of (store URL or store, which of the two, which round); both racers run it after one barrier.
- An outcome is what the contest returned, or the name of the failure it ended in; anything else breaks the test.
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

_PATIENCE_SECONDS = 60


class Outcome(NamedTuple):
    """How one racer fared."""

    value: Any
    failure: str | None


class Racers(Protocol):
    """Two who race."""

    def race(self, url: str, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """Both run the contest of this name in `contests.py` on this store at the same moment."""
        ...


class ThreadRacers:
    """Two threads; each store is opened once and shared."""

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
        first, second = (run.result(_PATIENCE_SECONDS) for run in runs)
        return first, second


class ProcessRacers:
    """Two spawned processes, each with connections of its own."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._barrier = spawn.Barrier(2)  # ours to keep until both have it
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
            process.join(_PATIENCE_SECONDS)

    def race(self, url: str, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """See `Racers`."""
        for pipe in self._pipes:
            pipe.send((url, contest, race_round))
        first, second = (self._answer(pipe) for pipe in self._pipes)
        return first, second

    def _answer(self, pipe: Connection) -> Outcome:
        assert pipe.poll(_PATIENCE_SECONDS), "a racer did not come back"
        return Outcome(*pipe.recv())


class Ring:
    """A store, and two who race on it."""

    def __init__(self, store: Store, url: str, racers: Racers) -> None:
        self.store = store
        self._url = url
        self._racers = racers

    def race(self, contest: str, race_round: int) -> tuple[Outcome, Outcome]:
        """One round."""
        return self._racers.race(self._url, contest, race_round)

    def one_wins(self, contest: str, race_round: int, lost: str) -> Any:
        """One round in which one racer succeeds and the other ends in that failure; the winner's value."""
        outcomes = self.race(contest, race_round)
        assert sorted(str(outcome.failure) for outcome in outcomes) == sorted(["None", lost]), outcomes
        return next(outcome.value for outcome in outcomes if outcome.failure is None)

    def both(self, contest: str, race_round: int) -> tuple[Any, Any]:
        """One round in which both succeed; their values."""
        first, second = self.race(contest, race_round)
        assert (first.failure, second.failure) == (None, None)
        return first.value, second.value

    def forget(self, **columns: None) -> None:
        """Make the deployment forget what it was bound to, for another round."""
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
    contest: Callable[[Any, int, int], Any], subject: Any, who: int, race_round: int, together: Callable[[], object]
) -> Outcome:
    together()
    try:
        return Outcome(contest(subject, who, race_round), None)
    except TokensvcError as failure:
        return Outcome(None, type(failure).__name__)
