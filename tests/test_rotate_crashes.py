"""Killed at any step: the next run converges on one key, with no orphan in IVS and no private half lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crashing import Crash, Tripwire
from tests.stage import EAST, WEST, Stage
from tokensvc.rotate import wishes
from tokensvc.rotate.survey import SETTLED_SECONDS

Run = Callable[[Stage, Tripwire], object]
_rooms = itertools.count()


def generating(*regions: str) -> Run:
    return lambda stage, wire: wishes.generate(stage.world(wire), regions)


def rotating(*regions: str) -> Run:
    return lambda stage, wire: wishes.rotate(stage.world(wire), regions, "a test")


def nothing(_stage: Stage) -> None:
    """A new deployment."""


def one_key(stage: Stage) -> None:
    """A key that signs."""
    stage.generate(EAST, WEST)


def one_to_delete(stage: Stage) -> None:
    """A key that signs and one that has drained."""
    stage.generate(EAST, WEST)
    stage.rotate(EAST, WEST)
    stage.drain()


CASES = {
    "the first key": (nothing, generating(EAST), (EAST,)),
    "the first key in two regions": (nothing, generating(EAST, WEST), (EAST, WEST)),
    "a rotation": (one_key, rotating(EAST, WEST), (EAST, WEST)),
    "a rotation that deletes": (one_to_delete, rotating(EAST, WEST), (EAST, WEST)),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_step_the_next_run_converges(case: str, migrated: Path, tmp_path: Path) -> None:
    before, run, regions = CASES[case]
    crashes = 0
    for at in itertools.count():
        stage = Stage(migrated, tmp_path / f"keys{at}")
        before(stage)
        foreign = stage.ivs.add_foreign(EAST, 1)
        try:
            run(stage, Tripwire(at))
        except Crash:
            crashes += 1
        else:
            break
        stage.check_always()
        stage.clock.advance(SETTLED_SECONDS + 1)
        wishes.resume(stage.world(), regions)
        stage.check_settled(*regions)
        assert set(foreign) <= stage.ivs.pairs.keys()
        stage.store.close()
    assert crashes >= 8, "every step was tried"
