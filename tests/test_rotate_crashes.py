"""Killed at any step: the next run converges on one key, with no orphan in IVS and no private half lost."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.crashing import Crash, Tripwire
from tests.stage import EAST, PACE, WEST, Stage
from tokensvc import rotate
from tokensvc.errors import NoFreeSlot

Run = Callable[[Stage, Tripwire], object]
_rooms = itertools.count()


def generating(*regions: str) -> Run:
    return lambda stage, wire: rotate.generate(stage.world(wire), regions, PACE)


def rotating(*regions: str) -> Run:
    return lambda stage, wire: rotate.rotate(stage.world(wire), regions, PACE)


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


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_step_the_next_run_converges(case: str, after: bool, migrated: Path, tmp_path: Path) -> None:
    before, run, regions = CASES[case]
    crashes = 0
    for at in itertools.count():
        stage = Stage(migrated, tmp_path / f"keys{at}")
        before(stage)
        foreign = stage.ivs.add_foreign(EAST, 1)
        try:
            run(stage, Tripwire(at, after=after))
        except Crash:
            crashes += 1
        else:
            break
        stage.check_always()
        stage.clock.advance(rotate.UNKEPT_SECONDS)
        try:
            run(stage, Tripwire())
        except NoFreeSlot:  # it was killed when all was done: this is one rotation more, and too early
            stage.drain()
            run(stage, Tripwire())
        stage.check_settled(*regions)
        assert set(foreign) <= stage.ivs.pairs.keys()
        stage.store.close()
    assert crashes >= 8, "every step was tried"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["generate", "rotate", "drain"]),
        st.integers(0, 25),
        st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(regions=st.sampled_from([(EAST,), (EAST, WEST)]), steps=STEPS)
def test_whatever_the_history_one_key_signs_in_the_end(
    migrated: Path, tmp_path: Path, regions: tuple[str, ...], steps: list[tuple[str, int, bool]]
) -> None:
    """Runs of any kind, each killed somewhere or not at all, with or without time between them."""
    stage = Stage(migrated, tmp_path / f"history{next(_rooms)}")
    for kind, at, after in steps:
        if kind == "drain":
            stage.drain()
            continue
        run = (generating if kind == "generate" else rotating)(*regions)
        with contextlib.suppress(Crash, NoFreeSlot):
            run(stage, Tripwire(at, after=after))
        stage.check_always()
    stage.drain()
    stage.rotate(*regions)
    stage.drain()
    stage.rotate(*regions)
    stage.check_settled(*regions)
    assert len(stage.ivs.pairs) == 2 * len(regions)
    stage.store.close()
