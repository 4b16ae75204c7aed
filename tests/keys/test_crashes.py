"""Killed at any step: the next run converges on one key, with no orphan in IVS and no private half lost."""

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

BROUGHT = keypair.generate()


def nothing(_deployment: InMemoryDeployment) -> None:
    """A new deployment."""


def one_key(deployment: InMemoryDeployment) -> None:
    """A key that signs, and one that stands ready where the policy says so."""
    deployment.generate(EAST, WEST)
    deployment.clock.advance(POLICY.propagation_seconds)


def one_drains(deployment: InMemoryDeployment) -> None:
    """A key that signs and one that retires."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)


def one_to_delete(deployment: InMemoryDeployment) -> None:
    """A key that signs and one that has drained."""
    one_drains(deployment)
    deployment.drain()


def lost_with_all_slots_filled(deployment: InMemoryDeployment) -> None:
    """IVS lost the key that signs, and two retire."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    deployment.lose_pair(deployment.active())


def lost_after_one(deployment: InMemoryDeployment) -> None:
    """IVS lost the key that signs; a standby is ready where the policy says so."""
    one_key(deployment)
    deployment.lose_pair(deployment.active())


def damaged(deployment: InMemoryDeployment) -> None:
    """The key that signs is damaged, and one retires."""
    one_drains(deployment)
    deployment.damage(deployment.active())


def tagged(deployment: InMemoryDeployment) -> None:
    """IVS says of the key that signs that it is compromised, and one retires."""
    one_drains(deployment)
    [pair] = [
        p for p in deployment.ivs.pairs.values() if p["tags"][KEY_TAG] == deployment.active() and EAST in p["arn"]
    ]
    pair["tags"][COMPROMISED_TAG] = "2027-01-15T08:00:00Z"


def not_deleted(deployment: InMemoryDeployment) -> None:
    """A key signs, and IVS will not hear of the next deletion."""
    one_key(deployment)
    deployment.ivs.lose["DeletePlaybackKeyPair"] = "before"


def reconcile(context: KeysContext) -> None:
    commands.reconcile_and_wait(context, (EAST, WEST))


def generate(*regions: str) -> Callable[[KeysContext], object]:
    return lambda context: commands.generate(context, regions)


def rotate(context: KeysContext) -> None:
    commands.rotate(context, (EAST, WEST), "a test")


def compromise(context: KeysContext) -> None:
    signing = next(r.id for r in context.keys.list() for t in r.placements if t.state is KeyState.ACTIVE)
    commands.compromise(context, signing, (EAST, WEST), include_standby=False)


def bring(context: KeysContext) -> None:
    import_key(context, BROUGHT, (EAST, WEST))


class Case(NamedTuple):
    """What was there, what is killed, and where."""

    before: Callable[[InMemoryDeployment], None]
    run: Callable[[KeysContext], object]
    regions: tuple[str, ...] = (EAST, WEST)
    standby: bool = False
    is_run_again: bool = False
    """Whether the same is asked for once more, or what was begun is seen through by itself."""
    steps_min: int = 8
    """It has at least so many places to be killed at."""


CASES = {
    "the first key": Case(nothing, generate(EAST), (EAST,)),
    "the first key in two regions": Case(nothing, generate(EAST, WEST)),
    "the first key and its standby": Case(nothing, generate(EAST), (EAST,), standby=True),
    "a rotation": Case(one_key, rotate),
    "a rotation to the standby": Case(one_key, rotate, standby=True),
    "a rotation that deletes": Case(one_to_delete, rotate),
    "a compromise that leaves none": Case(one_key, compromise),
    "a compromise with a standby": Case(one_key, compromise, standby=True),
    "a compromise that calls a key back": Case(one_drains, compromise),
    "a compromise whose deletion is lost": Case(not_deleted, compromise, standby=True),
    "a key that ivs lost, with a standby": Case(lost_after_one, reconcile, standby=True),
    "a key that ivs lost, and no other": Case(lost_after_one, reconcile),
    "a key that ivs lost, with all slots filled": Case(lost_with_all_slots_filled, reconcile, steps_min=6),
    "a key that is damaged": Case(damaged, reconcile, steps_min=6),
    "a key that ivs says is compromised": Case(tagged, reconcile, steps_min=6),
    "a key that is brought": Case(one_key, bring, is_run_again=True),
}


@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_step_the_next_run_converges(name: str, migrated: Path, tmp_path: Path) -> None:
    case, crashes = CASES[name], 0
    before = InMemoryDeployment(migrated, None, POLICY._replace(standby=case.standby))
    case.before(before)
    room = QUOTA - len([arn for arn in before.ivs.pairs if EAST in arn]) - 1
    foreign = before.ivs.add_foreign(EAST, 0 if case.standby else min(room, 1))
    save(before.store, tmp_path / "before.db")
    for at in itertools.count():
        deployment = before.twin(tmp_path / "before.db")
        try:
            case.run(deployment.context(CrashPoint(at)))
        except Crash:
            crashes += 1
        else:
            break
        deployment.check_always()
        deployment.ivs.lose.clear()
        compromised = {record.id for record in deployment.store.keys.list() if record.compromised_at is not None}
        deployment.clock.advance(GRACE_SECONDS + 1)
        if case.is_run_again:
            case.run(deployment.context())
        commands.reconcile_and_wait(deployment.context(), case.regions)
        deployment.check_settled(*case.regions)
        assert set(foreign) <= deployment.ivs.pairs.keys()
        assert not compromised & deployment.vault.key_ids()
        assert not deployment.store.journal.open_entries()
        deployment.store.close()
    assert crashes >= case.steps_min, "every step was tried"
