"""Requests while another process is the rotation leader: it completes them, or they are rejected for its reasons."""

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

pytestmark = pytest.mark.slow

MAX_POLLS = 100
"""Polls after which a test fails rather than hangs."""


class Command:
    """A command that never gets the lease. While it sleeps, another process acts as the leader."""

    def __init__(self, deployment: InMemoryDeployment, act_as_leader: Callable[[], object]) -> None:
        self.deployment = deployment
        self.polls = 0
        self.act_as_leader = act_as_leader
        self.context: KeysContext = replace(deployment.context(), acquire_lease=lambda: False, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.polls += 1
        assert self.polls < MAX_POLLS, "it waits forever"
        self.deployment.clock.advance(seconds)
        self.act_as_leader()


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def test_a_rotation_is_done_when_another_process_has_done_it(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id
    command = Command(deployment, deployment.reconcile)
    request = commands.rotate(command.context, [EAST], "a test")
    assert commands.replacement_keys(deployment.store.keys.list(), request) == {EAST: deployment.active()}
    assert deployment.active() != former
    assert deployment.reports.count("the rotation leader handles the rotation; waiting for it to finish") == 1


def test_a_full_region_is_rejected_although_another_process_is_the_leader(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    command = Command(deployment, deployment.reconcile)
    with pytest.raises(KeyPairQuotaReached, match="foreign"):
        commands.rotate(command.context, [EAST], "a test")


def test_a_full_region_does_not_delay_the_others(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST, 3)
    command = Command(deployment, lambda: deployment.reconcile(EAST, WEST))
    with pytest.raises(KeyPairQuotaReached, match=EAST):
        commands.generate(command.context, [EAST, WEST])
    assert deployment.active(WEST)


def test_an_outage_of_ivs_for_the_command_does_not_affect_the_leader(deployment: InMemoryDeployment) -> None:
    former = deployment.generate().id

    def act_as_leader() -> None:
        deployment.ivs.errors.clear()
        deployment.reconcile()
        deployment.ivs.errors[EAST] = throttle()

    command = Command(deployment, act_as_leader)
    deployment.ivs.errors[EAST] = throttle()
    commands.rotate(command.context, [EAST], "a test")
    assert deployment.active() != former


def test_what_blocks_the_leader_is_reported_and_waiting_ends(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    raised = {"reason": "IVS responded to ImportPlaybackKeyPair with AccessDeniedException"}
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
            f"the rotation leader handles the rotation; waiting for it to finish; {EAST}: {raised['reason']}"
        )
        == 1
    )
    assert MAX_IDLE_POLLS - 1 <= command.polls < MAX_IDLE_POLLS + 5
    assert deployment.store.rotation_requests.newest(1), "the request stays pending"


def test_a_drain_that_the_leader_waits_for_is_reported_and_waited_for(
    deployment: InMemoryDeployment,
) -> None:
    deployment.ivs.add_foreign(EAST)
    deployment.generate()
    deployment.rotate()
    command = Command(deployment, lambda: None)
    command.act_as_leader = partial(_interrupt, command)
    with pytest.raises(KeyboardInterrupt):
        commands.rotate(command.context, [EAST], "a test", wait_for_drain=True)
    [(_, retiring)] = deployment.placements(EAST, KeyState.RETIRING)
    ends_at = drains_at(retiring, deployment.policy)
    assert (
        f"one is freed when the last token of a retiring key has expired, at {ends_at:%Y-%m-%dT%H:%M:%SZ}"
        in (deployment.reports[-1])
    )


def _interrupt(command: Command) -> None:
    if command.polls > MAX_IDLE_POLLS + 10:
        raise KeyboardInterrupt
