"""A dispatcher on each database, and processes that are killed: nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.storage.samples import EVERYONE, HERE, make_due
from tests.support.crashes import Crash, CrashPoint
from tests.support.dispatchers import DispatchScenario
from tokensvc.deployment.versions import Position
from tokensvc.local_ivs.faults import Fault, FaultKind
from tokensvc.revocations.model import Priority
from tokensvc.storage.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dispatch(store: Store) -> Iterator[DispatchScenario]:
    made = DispatchScenario(store)
    yield made
    made.close()


def test_with_every_fault_at_once_and_dispatchers_that_are_killed_nothing_is_lost(dispatch: DispatchScenario) -> None:
    for seed, kind in enumerate((FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.THROTTLE, FaultKind.ERROR)):
        dispatch.ivs.faults.plan(Fault(kind, rate=0.1, seed=seed))
    dispatch.ivs.entry_errors = (0.3, "InternalServerException")
    dice = random.Random(5)
    for batch in range(8):
        dispatch.accept([f"v{dice.randrange(200)}" for _ in range(50)])
        dispatch.accept([f"a{batch}"], Priority.INTERACTIVE)
        with suppress(Crash):
            dispatch.run(dispatch.dispatcher(wire=CrashPoint(dice.randrange(40), after=batch % 2 == 0)), 5)
        if batch % 3 == 0:
            make_due(dispatch.store)
    dispatch.drain(dispatch.dispatcher())
    dispatch.check_nothing_lost()


ACCEPTS_FOR_EVER = """
import itertools, sys
from tests.storage.samples import REACH, revocation
from tokensvc.storage.store import open_store
from tokensvc.revocations.model import Priority

store = open_store(sys.argv[1])
for batch in itertools.count():
    wanted = [revocation(f"{sys.argv[2]}-{batch}-{n}") for n in range(20)]
    for accepted in store.revocations.accept("backend", wanted, Priority.BULK, REACH):
        print(accepted.id, accepted.version, flush=True)
"""


def test_what_a_process_answered_before_it_was_killed_is_there(store: Store, store_url: str) -> None:
    """SIGKILL, at a moment that it does not choose: each of its transactions is there wholly or not at all."""
    heard: dict[str, int] = {}
    for name in ("first", "second"):
        command = [sys.executable, "-c", ACCEPTS_FOR_EVER, store_url, name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        for _ in range(random.Random(name).randrange(100, 160)):
            revocation_id, version = process.stdout.readline().split()
            heard[revocation_id] = int(version)
        process.kill()
        process.wait()
        process.stdout.close()
    kept = {found.id: found.targets[0] for found in store.revocations.list(EVERYONE, limit=100_000)}
    assert heard.keys() <= kept.keys()
    assert len(kept) % 20 == 0
    waiting = {e.viewer_id: e.version for e in store.revocation_queue.claim(HERE, Priority.BULK, 100_000, 60)}
    standings = {row.restriction.minimum_version for row in store.denials.changed_since(Position(), 100_000).rows}
    assert len(waiting) == len(kept)
    for name, told in heard.items():
        assert kept[name].version == waiting[name] == told
        assert told + 1 in standings
