"""What people ask for while another process performs: it is seen through there, or refused for the same reasons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulator import throttle
from tests.stage import EAST, WEST, Stage
from tokensvc.errors import NoFreeSlot
from tokensvc.rotate import wishes
from tokensvc.rotate.world import World

PATIENCE = 100
"""Polls after which a test fails rather than hangs."""


class Command:
    """A command that never gets the lease; another process performs while it sleeps."""

    def __init__(self, stage: Stage, performs: Callable[[], object]) -> None:
        self.stage = stage
        self.polls = 0
        self._performs = performs
        self.world: World = stage.world()._replace(lead=lambda: False, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.polls += 1
        assert self.polls < PATIENCE, "it waits for ever"
        self.stage.clock.advance(seconds)
        self._performs()


@pytest.fixture
def stage(migrated: Path, tmp_path: Path) -> Stage:
    return Stage(migrated, tmp_path / "keys")


def test_a_rotation_is_over_when_another_process_has_performed_it(stage: Stage) -> None:
    former = stage.generate().id
    command = Command(stage, stage.advance)
    wish = wishes.rotate(command.world, [EAST], "a test")
    assert wishes.fulfilled(stage.store.keys.list(), wish) == {EAST: stage.active()}
    assert stage.active() != former
    assert stage.reports.count("another process performs; waiting for it") == 1


def test_a_full_region_is_refused_with_what_fills_it_although_another_process_performs(stage: Stage) -> None:
    stage.ivs.add_foreign(EAST)
    stage.generate()
    stage.rotate()
    command = Command(stage, stage.advance)
    with pytest.raises(NoFreeSlot, match="foreign"):
        wishes.rotate(command.world, [EAST], "a test")


def test_a_full_region_keeps_no_other_from_its_key(stage: Stage) -> None:
    stage.ivs.add_foreign(EAST, 3)
    command = Command(stage, lambda: stage.advance(EAST, WEST))
    with pytest.raises(NoFreeSlot, match=EAST):
        wishes.generate(command.world, [EAST, WEST])
    assert stage.active(WEST)


def test_that_ivs_does_not_answer_us_keeps_nobody_else_from_performing(stage: Stage) -> None:
    former = stage.generate().id

    def performs() -> None:
        stage.ivs.refuse.clear()
        stage.advance()
        stage.ivs.refuse[EAST] = throttle()

    command = Command(stage, performs)
    stage.ivs.refuse[EAST] = throttle()
    wishes.rotate(command.world, [EAST], "a test")
    assert stage.active() != former
