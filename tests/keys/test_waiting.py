"""What people ask for while another process performs: it is seen through there, or refused for the same reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.support.in_memory_deployment import EAST, WEST, InMemoryDeployment
from tests.support.simulated_ivs import throttle
from tokensvc.errors import KeyPairQuotaReached, RotationBlocked
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.lifecycle import KeyState, drains_at
from tokensvc.keys.waiting import MAX_IDLE_POLLS
from tokensvc.problems import Problem, ProblemCode

PATIENCE = 100
"""Polls after which a test fails rather than hangs."""


class Command:
    """A command that never gets the lease; another process performs while it sleeps."""

    def __init__(self, deployment: InMemoryDeployment, performs: Callable[[], object]) -> None:
        self.deployment = deployment
        self.polls = 0
        self.performs = performs
        self.context: KeysContext = replace(deployment.context(), acquire_lease=lambda: False, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.polls += 1
        assert self.polls < PATIENCE, "it waits for ever"
        self.deployment.clock.advance(seconds)
        self.performs()


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_a_rotation_is_over_when_another_process_has_performed_it(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    command = Command(deployment, deployment.reconcile)
    request = commands.rotate(command.context, [EAST], "a test")
    assert commands.replacement_keys(deployment.store.keys.list(), request) == {EAST: deployment.active()}
    assert deployment.active() != former
    assert deployment.reports.count("rotation is handled by another process; waiting for it to finish") == 1


def test_a_full_region_is_refused_with_what_fills_it_although_another_process_performs(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    command = Command(deployment, deployment.reconcile)
    with pytest.raises(KeyPairQuotaReached, match="foreign"):
        commands.rotate(command.context, [EAST], "a test")


def test_a_full_region_keeps_no_other_from_its_key(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST, 3)
    command = Command(deployment, lambda: deployment.reconcile(EAST, WEST))
    with pytest.raises(KeyPairQuotaReached, match=EAST):
        commands.generate(command.context, [EAST, WEST])
    assert deployment.active(WEST)


def test_that_ivs_does_not_answer_us_keeps_nobody_else_from_performing(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id

    def performs() -> None:
        deployment.ivs.refuse.clear()
        deployment.reconcile()
        deployment.ivs.refuse[EAST] = throttle()

    command = Command(deployment, performs)
    deployment.ivs.refuse[EAST] = throttle()
    commands.rotate(command.context, [EAST], "a test")
    assert deployment.active() != former


def test_what_keeps_back_whoever_performs_is_told_and_not_waited_for_for_ever(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    raised = {"reason": "IVS answered ImportPlaybackKeyPair with AccessDeniedException"}
    deployment.leader_problems = (
        Problem(ProblemCode.ROTATION_FAILED, WEST, {"reason": "of no concern here"}),
        Problem(ProblemCode.REVOCATIONS_REJECTED, EAST, {"ivs_codes": "of no concern either"}),
        Problem(ProblemCode.ROTATION_FAILED, EAST, raised),
    )
    command = Command(deployment, lambda: None)
    with pytest.raises(RotationBlocked, match="AccessDeniedException"):
        commands.rotate(command.context, [EAST], "a test")
    assert (
        deployment.reports.count(
            f"rotation is handled by another process; waiting for it to finish; {EAST}: {raised['reason']}"
        )
        == 1
    )
    assert MAX_IDLE_POLLS - 1 <= command.polls < MAX_IDLE_POLLS + 5
    assert deployment.store.rotations.newest(1), "what was asked for stands"


def test_a_drain_that_another_process_waits_for_is_told_and_waited_for_however_long(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    command = Command(deployment, lambda: None)
    command.performs = partial(_enough, command)
    with pytest.raises(KeyboardInterrupt):
        commands.rotate(command.context, [EAST], "a test", wait_for_drain=True)
    [(_, retiring)] = deployment.placements(EAST, KeyState.RETIRING)
    ends_at = drains_at(retiring, deployment.policy)
    assert (
        f"one is freed when the last token of a retiring key has expired, at {ends_at:%Y-%m-%dT%H:%M:%SZ}"
        in (deployment.reports[-1])
    )


def _enough(command: Command) -> None:
    if command.polls > MAX_IDLE_POLLS + 10:
        raise KeyboardInterrupt
