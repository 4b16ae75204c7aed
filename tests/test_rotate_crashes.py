"""Killed at any step: the next run converges on one key, with no orphan in IVS and no private half lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crashing import Crash, Tripwire
from tests.stage import EAST, POLICY, WEST, Stage
from tests.stores import save
from tokensvc.core import keypair
from tokensvc.core.lifecycle import KeyState
from tokensvc.rotate import wishes
from tokensvc.rotate.bringing import import_key
from tokensvc.rotate.survey import SETTLED_SECONDS
from tokensvc.rotate.world import World

BROUGHT = keypair.generate()


def nothing(_stage: Stage) -> None:
    """A new deployment."""


def one_key(stage: Stage) -> None:
    """A key that signs, and one that stands ready where the policy says so."""
    stage.generate(EAST, WEST)
    stage.clock.advance(POLICY.lead_seconds)


def one_drains(stage: Stage) -> None:
    """A key that signs and one that retires."""
    stage.generate(EAST, WEST)
    stage.rotate(EAST, WEST)


def one_to_delete(stage: Stage) -> None:
    """A key that signs and one that has drained."""
    one_drains(stage)
    stage.drain()


def generate(*regions: str) -> Callable[[World], object]:
    return lambda world: wishes.generate(world, regions)


def rotate(world: World) -> None:
    wishes.rotate(world, (EAST, WEST), "a test")


def compromise(world: World) -> None:
    signing = next(r.id for r in world.keys.list() for t in r.places if t.state is KeyState.ACTIVE)
    wishes.compromise(world, signing, (EAST, WEST), distrust_standby=False)


def bring(world: World) -> None:
    import_key(world, BROUGHT, (EAST, WEST))


class Case(NamedTuple):
    """What was there, what is killed, and where."""

    before: Callable[[Stage], None]
    run: Callable[[World], object]
    regions: tuple[str, ...] = (EAST, WEST)
    standby: bool = False
    is_run_again: bool = False
    """Whether the same is asked for once more, or what was begun is seen through by itself."""


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
    "a key that is brought": Case(one_key, bring, is_run_again=True),
}


@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_step_the_next_run_converges(name: str, migrated: Path, tmp_path: Path) -> None:
    case, crashes = CASES[name], 0
    before = Stage(migrated, None, POLICY._replace(standby=case.standby))
    case.before(before)
    foreign = before.ivs.add_foreign(EAST, 0 if case.standby else 1)
    save(before.store, tmp_path / "before.db")
    for at in itertools.count():
        stage = before.twin(tmp_path / "before.db")
        try:
            case.run(stage.world(Tripwire(at)))
        except Crash:
            crashes += 1
        else:
            break
        stage.check_always()
        compromised = {record.id for record in stage.store.keys.list() if record.compromised_at is not None}
        stage.clock.advance(SETTLED_SECONDS + 1)
        if case.is_run_again:
            case.run(stage.world())
        wishes.resume(stage.world(), case.regions)
        stage.check_settled(*case.regions)
        assert set(foreign) <= stage.ivs.pairs.keys()
        assert not compromised & stage.vault.key_ids()
        assert not stage.store.journal.open()
        stage.store.close()
    assert crashes >= 8, "every step was tried"
