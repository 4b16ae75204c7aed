"""Keys rotate automatically: on time, by one process, and with few calls to IVS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.container.test_prometheus import samples
from tests.support.audit import EVENT
from tests.support.in_memory_deployment import EAST, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.simulated_ivs import outage
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.deployment.record import RotationPolicy
from tokensvc.errors import StoreUnavailable
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.leader import (
    INSPECTION_INTERVAL_SECONDS,
    INTERVAL_SECONDS,
    MIN_INSPECTION_INTERVAL_SECONDS,
    RENEWALS_PER_LEASE,
    RETRY_SECONDS,
    RotationLeader,
)
from tokensvc.keys.lifecycle import KeyState
from tokensvc.outages import REMINDER_INTERVAL_SECONDS
from tokensvc.runner import IDLE

pytestmark = pytest.mark.slow

LEASE_SECONDS = 30.0
PROPAGATION_SECONDS = 30.0
POLICY = RotationPolicy(PROPAGATION_SECONDS, max_staleness_seconds=910, max_age_seconds=86_400, standby=False)


class LeaderProcess:
    """A process with a rotation task. `run` advances the time and runs the task at its interval."""

    def __init__(self, deployment: InMemoryDeployment, *regions: str, name: str = "a") -> None:
        self.deployment = deployment
        self.name = name
        self.metrics = PrometheusMetrics()
        self.rotation = RotationLeader(
            make_context=self.context,
            regions=regions or (EAST,),
            clock=deployment.clock,
            metrics=self.metrics,
            lease_seconds=LEASE_SECONDS,
        )
        self.is_store_unavailable = False

    def context(self) -> KeysContext:
        if self.is_store_unavailable:
            raise StoreUnavailable("the store did not answer")
        context = self.deployment.context()
        return replace(
            context,
            acquire_lease=lambda: self.deployment.leases.acquire("rotation", self.name, LEASE_SECONDS),
            release_lease=lambda: self.deployment.leases.release("rotation", self.name),
        )

    def run(self, seconds: float = 0.0) -> None:
        self.rotation.run_once()
        for _ in range(round(seconds / INTERVAL_SECONDS)):
            self.deployment.clock.advance(INTERVAL_SECONDS)
            self.rotation.run_once()

    def inspections(self) -> int:
        """The number of inspections of IVS since the last call."""
        inspections = len(self.deployment.ivs.requests_of("ListPlaybackKeyPairs"))
        self.deployment.ivs.calls.clear()
        return inspections

    def metric(self, name: str) -> float:
        return samples(self.metrics.render())[name]


@pytest.fixture
def deployment(migrated: Path, tmp_path: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, tmp_path / "keys", POLICY)


@pytest.fixture
def process(deployment: InMemoryDeployment) -> LeaderProcess:
    return LeaderProcess(deployment)


def test_the_first_key_is_generated_and_active_after_the_propagation_delay(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    process.run()
    [(_, placement)] = deployment.placements(EAST, KeyState.PREPARED)
    process.run(PROPAGATION_SECONDS - INTERVAL_SECONDS)
    assert not deployment.placements(EAST, KeyState.ACTIVE)
    process.run(INTERVAL_SECONDS)
    assert deployment.active() == placement.key_id
    deployment.check_completed(EAST)
    assert not deployment.slept, "it never sleeps"


def test_a_key_at_its_maximum_age_is_replaced_and_deleted_after_its_drain(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    process.run(PROPAGATION_SECONDS)
    former = deployment.active()
    deployment.clock.advance(86_400 - INSPECTION_INTERVAL_SECONDS)
    process.run(INSPECTION_INTERVAL_SECONDS + PROPAGATION_SECONDS)
    assert deployment.active() != former
    [(_, placement)] = deployment.placements(EAST, KeyState.RETIRING)
    deployment.clock.advance(POLICY.drain_seconds(placement.longest_ttl_seconds))
    process.run(INSPECTION_INTERVAL_SECONDS)
    assert placement.arn not in deployment.ivs.pairs
    deployment.check_completed(EAST)


def test_ivs_is_inspected_at_its_interval_when_nothing_is_due(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    deployment.generate()
    process.run()
    process.inspections()
    process.run(10 * INSPECTION_INTERVAL_SECONDS)
    assert process.inspections() == 10


def test_ivs_is_not_inspected_during_a_wait(deployment: InMemoryDeployment, process: LeaderProcess) -> None:
    process.run()
    process.inspections()
    process.run(PROPAGATION_SECONDS - INTERVAL_SECONDS)
    assert process.inspections() == 0
    process.run(INTERVAL_SECONDS)
    assert process.inspections() == 1
    assert deployment.active()


def test_a_rotation_request_is_started_by_the_next_run(deployment: InMemoryDeployment, process: LeaderProcess) -> None:
    former = deployment.generate().id
    process.run(5)
    commands.request_rotation(deployment.context(), [EAST], "a test")
    process.run(INTERVAL_SECONDS)
    assert not deployment.placements(EAST, KeyState.PREPARED), "it was not woken"
    process.rotation.wake()
    process.run()
    assert deployment.placements(EAST, KeyState.PREPARED)
    process.run(PROPAGATION_SECONDS)
    assert deployment.active() != former


def test_a_compromise_is_handled_by_the_next_run(deployment: InMemoryDeployment, process: LeaderProcess) -> None:
    bad = deployment.generate().id
    process.run(5)
    deployment.store.keys.compromise(
        bad, deployment.clock.at(), PROPAGATION_SECONDS, include_standby=False, event=EVENT
    )
    process.rotation.wake()
    process.run()
    assert not [pair for pair in deployment.ivs.pairs.values() if pair["name"].endswith(bad)]
    process.run(PROPAGATION_SECONDS)
    assert deployment.active() != bad


def test_frequent_wakes_do_not_flood_ivs(deployment: InMemoryDeployment, process: LeaderProcess) -> None:
    deployment.generate()
    process.run()
    process.inspections()
    for _ in range(20):
        process.rotation.wake()
        process.run(INTERVAL_SECONDS)
    assert process.inspections() == 20 * INTERVAL_SECONDS / MIN_INSPECTION_INTERVAL_SECONDS


def test_another_process_takes_over_within_the_lease(deployment: InMemoryDeployment) -> None:
    first, second = LeaderProcess(deployment, name="a"), LeaderProcess(deployment, name="b")
    for _ in range(10):
        first.run()
        second.run()
        deployment.clock.advance(LEASE_SECONDS / 2)
    assert (first.metric("tokensvc_rotation_leader"), second.metric("tokensvc_rotation_leader")) == (1, 0)
    assert first.rotation.region_statuses
    assert not second.rotation.region_statuses
    killed_at = deployment.clock.wall
    while not second.rotation.region_statuses:
        second.run(INTERVAL_SECONDS)
        assert deployment.clock.wall - killed_at <= LEASE_SECONDS * (1 + 1 / RENEWALS_PER_LEASE)
    first.run()
    assert (first.metric("tokensvc_rotation_leader"), second.metric("tokensvc_rotation_leader")) == (0, 1)


def test_another_process_takes_over_immediately_from_one_that_stops(deployment: InMemoryDeployment) -> None:
    first, second = LeaderProcess(deployment, name="a"), LeaderProcess(deployment, name="b")
    first.run()
    second.run()
    first.rotation.stop()
    second.run(LEASE_SECONDS / RENEWALS_PER_LEASE)
    assert second.rotation.region_statuses


def test_a_process_without_the_lease_does_not_call_ivs(deployment: InMemoryDeployment) -> None:
    first, second = LeaderProcess(deployment, name="a"), LeaderProcess(deployment, name="b")
    deployment.generate()
    first.run()
    first.inspections()
    second.rotation.wake()
    second.run(LEASE_SECONDS - 1)
    assert second.inspections() == 0


def test_a_failure_is_reported_while_it_lasts_and_retried_with_growing_pauses(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    deployment.ivs.errors[EAST] = outage()
    process.run()
    assert texts(process.rotation.problems) == ["us-east-1: IVS did not respond"]
    assert process.metric('tokensvc_rotation_problems{region="us-east-1"}') == 1
    tries = []
    for _ in range(6):
        before = deployment.clock.wall
        process.inspections()
        while not process.inspections():
            process.run(INTERVAL_SECONDS)
        tries.append(deployment.clock.wall - before)
    assert tries == [RETRY_SECONDS, 10, 20, *[INSPECTION_INTERVAL_SECONDS] * 3]
    del deployment.ivs.errors[EAST]
    process.run(INSPECTION_INTERVAL_SECONDS + PROPAGATION_SECONDS)
    assert not process.rotation.problems
    assert process.metric('tokensvc_rotation_problems{region="us-east-1"}') == 0
    assert deployment.active()


def test_a_failing_region_does_not_delay_the_others(deployment: InMemoryDeployment) -> None:
    process = LeaderProcess(deployment, EAST, WEST)
    deployment.ivs.errors[WEST] = outage()
    process.run(PROPAGATION_SECONDS)
    assert deployment.active(EAST)
    assert process.metric('tokensvc_rotation_problems{region="us-east-1"}') == 0
    assert process.metric('tokensvc_rotation_problems{region="us-west-2"}') == 1


def test_too_few_slots_are_reported_before_a_rotation_needs_them(
    deployment: InMemoryDeployment,
) -> None:
    process = LeaderProcess(deployment)
    deployment.ivs.add_foreign(EAST, 2)
    process.run(PROPAGATION_SECONDS)
    assert deployment.active()
    [text] = texts(process.rotation.problems)
    assert "2 of the 3 key pair slots in us-east-1 are used by other applications" in text
    [status] = process.rotation.region_statuses
    assert (status.slots_used, status.foreign) == (3, 2)


def test_a_policy_made_impossible_by_a_longer_lease_is_reported(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    deployment.policy = POLICY._replace(max_staleness_seconds=86_400)
    process.run()
    assert any(
        "the maximum age of 86400 s is shorter than propagation delay + drain" in text
        for text in texts(process.rotation.problems)
    )


def test_an_unavailable_store_is_reported_and_the_next_run_continues(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    process.is_store_unavailable = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            process.run()
    assert texts(process.rotation.problems) == ["rotation is not running: the store did not answer"]
    assert process.metric('tokensvc_rotation_problems{region="us-east-1"}') == 1
    process.is_store_unavailable = False
    process.run(PROPAGATION_SECONDS)
    assert not process.rotation.problems
    assert deployment.active()


def test_a_wake_while_the_store_is_unavailable_is_not_lost(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    deployment.generate()
    process.run(5)
    process.inspections()
    process.is_store_unavailable = True
    process.rotation.wake()
    with pytest.raises(StoreUnavailable):
        process.run()
    process.is_store_unavailable = False
    process.run()
    assert process.inspections() == 1


def test_the_status_of_a_region_names_the_next_action_and_its_time(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    process.run()
    [waiting] = process.rotation.region_statuses
    assert waiting.next_action == "the next key can sign once its propagation delay has passed"
    assert waiting.next_action_at == waiting.observed_at + PROPAGATION_SECONDS
    process.run(PROPAGATION_SECONDS)
    [settled] = process.rotation.region_statuses
    [(_, placement)] = deployment.placements(EAST, KeyState.ACTIVE)
    assert placement.activated_at is not None
    assert settled.next_action_at == (placement.activated_at + timedelta(days=1)).timestamp()
    assert settled.next_action.startswith(f"key {placement.key_id} reaches its maximum age")
    assert (settled.slots_used, settled.foreign) == (1, 0)


def test_a_drain_that_ends_before_the_next_rotation_is_the_next_action(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    former = deployment.generate().id
    deployment.rotate()
    process.run()
    [status] = process.rotation.region_statuses
    assert status.next_action == f"the last token of key {former} expires and its pair is deleted"


def test_without_a_maximum_age_there_is_no_next_action(migrated: Path, tmp_path: Path) -> None:
    deployment = InMemoryDeployment(migrated, tmp_path / "other", POLICY._replace(max_age_seconds=None))
    deployment.generate()
    process = LeaderProcess(deployment)
    process.run()
    [status] = process.rotation.region_statuses
    assert (status.next_action, status.next_action_at) == ("", None)


def _lines(lines: Sequence[Mapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_an_outage_of_ivs_is_logged_at_its_start_once_a_minute_and_at_its_end(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    process.run(PROPAGATION_SECONDS)
    with capture_logs() as lines:
        deployment.ivs.errors[EAST] = outage()
        process.run(600 + PROPAGATION_SECONDS)
        del deployment.ivs.errors[EAST]
        process.run(2 * INSPECTION_INTERVAL_SECONDS)
    failed = _lines(lines, "rotation failed in a region")
    assert failed[0]["seconds"] == 0
    assert failed[0]["error"] == "IVS did not respond"
    assert 8 <= len(failed) <= 600 / REMINDER_INTERVAL_SECONDS + 1
    [again] = _lines(lines, "rotation recovered in a region")
    assert again["seconds"] == pytest.approx(600, abs=2 * INSPECTION_INTERVAL_SECONDS)
    assert not [line for line in lines if "will retry" in str(line)], "each inspection had its own line"


def test_an_alarm_is_logged_as_an_error_at_its_start_and_once_a_minute(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    process.run(PROPAGATION_SECONDS)
    [(record, _)] = deployment.placements(EAST, KeyState.ACTIVE)
    deployment.delete_in_ivs(record.id)
    others = deployment.ivs.add_foreign(EAST, 3)
    with capture_logs() as lines:
        process.run(600)
        for arn in others:
            del deployment.ivs.pairs[arn]
        process.run(2 * INSPECTION_INTERVAL_SECONDS + PROPAGATION_SECONDS)
    errors = [line for line in lines if line["log_level"] == "error"]
    assert 8 <= len(errors) <= 600 / REMINDER_INTERVAL_SECONDS + 2
    assert len(_lines(lines, "tokens can be issued and are accepted by IVS again")) == 1


def test_a_run_with_nothing_to_do_is_idle(deployment: InMemoryDeployment, process: LeaderProcess) -> None:
    assert process.rotation.run_once() is None
    assert process.rotation.run_once() is IDLE
    process.is_store_unavailable = True
    process.rotation.wake()
    deployment.clock.advance(MIN_INSPECTION_INTERVAL_SECONDS)
    with pytest.raises(StoreUnavailable):
        process.rotation.run_once()


def test_what_is_overdue_grows_while_ivs_cannot_be_reached_and_ends_with_the_rotation(
    deployment: InMemoryDeployment, process: LeaderProcess
) -> None:
    rotation, deletion = (f'tokensvc_key_{what}_overdue_seconds{{region="{EAST}"}}' for what in ("rotation", "drain"))
    process.run(PROPAGATION_SECONDS)
    assert (process.metric(rotation), process.metric(deletion)) == (0, 0)
    deployment.ivs.errors[EAST] = outage()
    deployment.clock.advance(POLICY.max_age_seconds or 0)
    process.run(120)
    assert process.metric(rotation) == pytest.approx(120, abs=PROPAGATION_SECONDS + 5)
    assert process.metric(deletion) == 0
    del deployment.ivs.errors[EAST]
    process.run(2 * PROPAGATION_SECONDS + 60)
    assert process.metric(rotation) == 0, "another key is active"
    deployment.ivs.errors[EAST] = outage()
    deployment.clock.advance(POLICY.drain_seconds(3600))
    process.run(60)
    assert 0 < process.metric(deletion) <= 60 + 2 * PROPAGATION_SECONDS + 65
    deployment.leases.acquire("rotation", "another", 1e9)
    process.is_store_unavailable = False
    deployment.clock.advance(LEASE_SECONDS)
    deployment.leases.release("rotation", "a")
    assert deployment.leases.acquire("rotation", "another", 1e9)
    process.run(LEASE_SECONDS)
    assert process.metric(deletion) == 0, "another process reports it now"
