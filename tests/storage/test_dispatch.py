"""A dispatcher on each database, and killed processes: nothing that was acknowledged is lost."""

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

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dispatch(store: Store) -> Iterator[DispatchScenario]:
    scenario = DispatchScenario(store)
    yield scenario
    scenario.close()


def test_no_revocation_is_lost_with_all_faults_and_killed_dispatchers(dispatch: DispatchScenario) -> None:
    for seed, kind in enumerate((FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.THROTTLE, FaultKind.ERROR)):
        dispatch.ivs.faults.plan(Fault(kind, rate=0.1, seed=seed))
    dispatch.ivs.entry_errors = (0.3, "InternalServerException")
    rng = random.Random(5)
    for batch in range(8):
        dispatch.accept([f"v{rng.randrange(200)}" for _ in range(50)])
        dispatch.accept([f"a{batch}"], Priority.INTERACTIVE)
        with suppress(Crash):
            dispatch.run(dispatch.dispatcher(crash_point=CrashPoint(rng.randrange(40), after=batch % 2 == 0)), 5)
        if batch % 3 == 0:
            make_due(dispatch.store)
    dispatch.drain(dispatch.dispatcher())
    dispatch.check_nothing_lost()


ACCEPT_FOREVER = """
import itertools, sys
from tests.storage.samples import MAX_STALENESS_SECONDS, revocation
from tests.support.audit import EVENT
from tokensvc.storage.store import open_store
from tokensvc.revocations.model import Priority

store = open_store(sys.argv[1])
for batch in itertools.count():
    wanted = [revocation(f"{sys.argv[2]}-{batch}-{n}") for n in range(20)]
    for accepted in store.revocations.accept("backend", wanted, Priority.BULK, MAX_STALENESS_SECONDS, events=[EVENT]):
        print(accepted.id, accepted.version, flush=True)
"""


def test_revocations_acknowledged_by_a_killed_process_are_stored(store: Store, store_url: str) -> None:
    """SIGKILL at a random time: each transaction is stored completely or not at all."""
    acknowledged: dict[str, int] = {}
    for name in ("first", "second"):
        command = [sys.executable, "-c", ACCEPT_FOREVER, store_url, name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        for _ in range(random.Random(name).randrange(100, 160)):
            revocation_id, version = process.stdout.readline().split()
            acknowledged[revocation_id] = int(version)
        process.kill()
        process.wait()
        process.stdout.close()
    stored = {found.id: found.targets[0] for found in store.revocations.list(EVERYONE, limit=100_000)}
    assert acknowledged.keys() <= stored.keys()
    assert len(stored) % 20 == 0
    waiting = {e.viewer_id: e.version for e in store.revocation_queue.claim(HERE, Priority.BULK, 100_000, 60)}
    minimum_versions = {
        row.restriction.minimum_version for row in store.denials.changed_since(Position(), 100_000).rows
    }
    assert len(waiting) == len(stored)
    for name, acknowledged_version in acknowledged.items():
        assert stored[name].version == waiting[name] == acknowledged_version
        assert acknowledged_version + 1 in minimum_versions
