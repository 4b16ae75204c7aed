"""Plans match what the reconciler then does, on a real store and a simulated IVS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.audit import EVENT
from tests.support.in_memory_deployment import EAST, POLICY, InMemoryDeployment
from tokensvc.keys import commands
from tokensvc.keys.forecast import MAX_STEPS, plan
from tokensvc.keys.inventory import take_inventory
from tokensvc.keys.lifecycle import KeyState, Step, StepKind, Wait, active_placement

pytestmark = pytest.mark.slow

STANDBY = POLICY._replace(standby=True)


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys")


def planned(deployment: InMemoryDeployment, *, replace: bool = False) -> list[Step | Wait]:
    standing = take_inventory(deployment.context(), EAST).region_state
    active = active_placement(standing.placements)
    if replace and active is not None:
        standing = standing._replace(to_replace=frozenset({active.key_id}))
    return plan(standing, deployment.clock.at(), deployment.context().policy())


def kinds(coming: list[Step | Wait]) -> list[str]:
    return [step.kind.value if isinstance(step, Step) else "wait" for step in coming]


def nothing(_deployment: InMemoryDeployment) -> None:
    """A new deployment."""


def one(deployment: InMemoryDeployment) -> None:
    deployment.generate()


def two(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    deployment.rotate()


def drained(deployment: InMemoryDeployment) -> None:
    two(deployment)
    deployment.drain()


@pytest.mark.parametrize("policy", [POLICY, STANDBY], ids=["without a standby", "with a standby"])
@pytest.mark.parametrize("before", [nothing, one, two, drained])
def test_a_rotation_goes_as_planned(
    migrated: Path, tmp_path: Path, before: Callable[[InMemoryDeployment], None], policy: object
) -> None:
    deployment = InMemoryDeployment(migrated, tmp_path / "keys", STANDBY if policy == STANDBY else POLICY)
    before(deployment)
    known = {entry.id for entry in deployment.store.journal.history(None, 100)}
    coming = planned(deployment, replace=True)
    deployment.slept.clear()
    commands.rotate(deployment.context(), (EAST,), "a test")
    taken = [entry.kind for entry in deployment.store.journal.history(None, 100)[::-1] if entry.id not in known]
    steps = [step.kind for step in coming if isinstance(step, Step)]
    if before is nothing:
        assert steps[: len(taken)] == taken
    assert sorted(steps) == sorted(taken)
    assert len(deployment.slept) == sum(isinstance(step, Wait) for step in coming)


def test_nothing_is_planned_if_nothing_is_due(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    assert planned(deployment) == []


def test_a_full_region_waits_for_a_drain_and_then_continues(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    deployment.rotate()
    deployment.rotate()
    assert kinds(planned(deployment, replace=True)) == [
        *("wait", "delete", "generate", "import", "wait"),
        *("delete", "activate"),  # by then the other one has drained too
    ]


def test_the_plan_ends_where_an_operator_must_free_a_slot(deployment: InMemoryDeployment) -> None:
    deployment.ivs.add_foreign(EAST, 3)
    (wait,) = planned(deployment)
    assert isinstance(wait, Wait)
    assert wait.until is None


def test_a_compromised_key_is_deleted_first(deployment: InMemoryDeployment) -> None:
    key = deployment.generate()
    deployment.store.keys.compromise(key.id, deployment.clock.at(), 30, include_standby=False, event=EVENT)
    coming = planned(deployment)
    assert coming[0] == Step(StepKind.DELETE, key.id, "it is compromised")
    assert kinds(coming) == ["delete", "generate", "import", "wait", "activate"]


@pytest.mark.parametrize("is_lost", [False, True], ids=["the standby takes over", "the standby is lost"])
def test_drains_that_start_anew_are_planned(migrated: Path, tmp_path: Path, is_lost: bool) -> None:
    """If IVS does not hold the active key, any other may have signed in a period that the store has lost."""
    deployment = InMemoryDeployment(migrated, tmp_path / "keys", STANDBY)
    two(deployment)
    deployment.reconcile()
    deployment.clock.advance(POLICY.drain_seconds(3600) - 60)
    [standby] = [record.id for record, _ in deployment.placements(EAST, KeyState.PREPARED)]
    if is_lost:
        deployment.vault.remove(standby)
    deployment.delete_in_ivs(deployment.active())
    deployment.reconcile()
    deployment.clock.advance(60)
    known = {entry.id for entry in deployment.store.journal.history(None, 100)}
    take_inventory(deployment.context(), EAST)
    coming = planned(deployment)
    for step in coming:
        if isinstance(step, Wait):
            assert step.until is not None
            deployment.clock.advance((step.until - deployment.clock.at()).total_seconds())
        deployment.reconcile()
    taken = [entry.kind for entry in deployment.store.journal.history(None, 100)[::-1] if entry.id not in known]
    assert [step.kind for step in coming if isinstance(step, Step)] == taken


def test_the_plan_is_bounded_if_keys_are_replaced_endlessly(deployment: InMemoryDeployment) -> None:
    deployment.generate()
    standing = take_inventory(deployment.context(), EAST).region_state
    restless = POLICY._replace(max_age_seconds=0.0)
    assert len(plan(standing, deployment.clock.at(), restless)) == MAX_STEPS
