"""After a crash at any step, the next run converges to one active key, without orphans in IVS or lost private keys."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.crashes import Crash, CrashPoint
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.simulated_ivs import QUOTA
from tests.support.stores import save
from tokensvc.jose import keypair
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.importing import import_key
from tokensvc.keys.inventory import COMPROMISED_TAG, GRACE_SECONDS, KEY_TAG
from tokensvc.keys.lifecycle import KeyState

pytestmark = pytest.mark.slow

GIVEN_KEY = keypair.generate()


def nothing(_deployment: InMemoryDeployment) -> None:
    """A new deployment."""


def one_key(deployment: InMemoryDeployment) -> None:
    """An active key, and a standby if the policy requires one."""
    deployment.generate(EAST, WEST)
    deployment.clock.advance(POLICY.propagation_seconds)


def one_drains(deployment: InMemoryDeployment) -> None:
    """An active key and a retiring one."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)


def one_to_delete(deployment: InMemoryDeployment) -> None:
    """An active key and one that has drained."""
    one_drains(deployment)
    deployment.drain()


def lost_with_all_slots_in_use(deployment: InMemoryDeployment) -> None:
    """IVS has lost the active key; two keys are retiring."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    deployment.delete_in_ivs(deployment.active())


def lost_after_one(deployment: InMemoryDeployment) -> None:
    """IVS has lost the active key; there is a standby if the policy requires one."""
    one_key(deployment)
    deployment.delete_in_ivs(deployment.active())


def damaged(deployment: InMemoryDeployment) -> None:
    """The active key is damaged; one key is retiring."""
    one_drains(deployment)
    deployment.damage(deployment.active())


def tagged(deployment: InMemoryDeployment) -> None:
    """The active key is tagged as compromised in IVS; one key is retiring."""
    one_drains(deployment)
    [pair] = [
        p for p in deployment.ivs.pairs.values() if p["tags"][KEY_TAG] == deployment.active() and EAST in p["arn"]
    ]
    pair["tags"][COMPROMISED_TAG] = "2027-01-15T08:00:00Z"


def not_deleted(deployment: InMemoryDeployment) -> None:
    """One key is active, and the next request to delete a pair will be lost."""
    one_key(deployment)
    deployment.ivs.losses["DeletePlaybackKeyPair"] = "before"


def reconcile(context: KeysContext) -> None:
    commands.reconcile_and_wait(context, (EAST, WEST))


def generate(*regions: str) -> Callable[[KeysContext], object]:
    return lambda context: commands.generate(context, regions)


def rotate(context: KeysContext) -> None:
    commands.rotate(context, (EAST, WEST), "a test")


def compromise(context: KeysContext) -> None:
    active = next(r.id for r in context.keys.list() for p in r.placements if p.state is KeyState.ACTIVE)
    commands.compromise(context, active, (EAST, WEST), include_standby=False)


def import_given(context: KeysContext) -> None:
    import_key(context, GIVEN_KEY, (EAST, WEST))


class Case(NamedTuple):
    """The initial state, the use case that is killed, and its regions."""

    before: Callable[[InMemoryDeployment], None]
    run: Callable[[KeysContext], object]
    regions: tuple[str, ...] = (EAST, WEST)
    standby: bool = False
    is_repeated: bool = False
    """Whether the use case is repeated after the crash, rather than completed by the reconciler."""
    min_steps: int = 8
    """The minimum number of steps at which it can be killed."""


CASES = {
    "the first key": Case(nothing, generate(EAST), (EAST,)),
    "the first key in two regions": Case(nothing, generate(EAST, WEST)),
    "the first key and its standby": Case(nothing, generate(EAST), (EAST,), standby=True),
    "a rotation": Case(one_key, rotate),
    "a rotation to the standby": Case(one_key, rotate, standby=True),
    "a rotation that deletes": Case(one_to_delete, rotate),
    "a compromise without another key": Case(one_key, compromise),
    "a compromise with a standby": Case(one_key, compromise, standby=True),
    "a compromise that reactivates a key": Case(one_drains, compromise),
    "a compromise whose deletion request is lost": Case(not_deleted, compromise, standby=True),
    "a key lost by ivs, with a standby": Case(lost_after_one, reconcile, standby=True),
    "a key lost by ivs, and no other": Case(lost_after_one, reconcile),
    "a key lost by ivs, with all slots in use": Case(lost_with_all_slots_in_use, reconcile, min_steps=6),
    "a damaged key": Case(damaged, reconcile, min_steps=6),
    "a key tagged as compromised in ivs": Case(tagged, reconcile, min_steps=6),
    "an import of a given key": Case(one_key, import_given, is_repeated=True),
}
QUICK = {"the first key", "a rotation", "a rotation to the standby", "an import of a given key"}
"""What `make test` runs; the others are long."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in CASES]
)
def test_after_a_crash_at_any_step_the_next_run_converges(name: str, migrated: Path, tmp_path: Path) -> None:
    case, crashes = CASES[name], 0
    before = InMemoryDeployment(migrated, None, POLICY._replace(standby=case.standby))
    case.before(before)
    free_slots = QUOTA - len([arn for arn in before.ivs.pairs if EAST in arn]) - 1
    foreign = before.ivs.add_foreign(EAST, 0 if case.standby else min(free_slots, 1))
    save(before.store, tmp_path / "before.db")
    for at in itertools.count():
        deployment = before.twin(tmp_path / "before.db")
        try:
            case.run(deployment.context(CrashPoint(at)))
        except Crash:
            crashes += 1
        else:
            break
        deployment.check_invariants()
        deployment.ivs.losses.clear()
        compromised = {record.id for record in deployment.store.keys.list() if record.compromised_at is not None}
        deployment.clock.advance(GRACE_SECONDS + 1)
        if case.is_repeated:
            case.run(deployment.context())
        commands.reconcile_and_wait(deployment.context(), case.regions)
        deployment.check_completed(*case.regions)
        assert set(foreign) <= deployment.ivs.pairs.keys()
        assert not compromised & deployment.vault.key_ids()
        assert not deployment.store.journal.open_entries()
        deployment.store.close()
    assert crashes >= case.min_steps, "every step was tried"
