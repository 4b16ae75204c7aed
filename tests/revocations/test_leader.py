"""One leader at a time dispatches revocations, and only while its lease is valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.storage.samples import make_due
from tests.support.dispatchers import DispatchScenario
from tests.support.leases import ManualLeases
from tests.support.local_control_plane import ACCOUNT_REGION
from tests.support.problems import texts
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.errors import ControlPlaneDenied, StoreUnavailable
from tokensvc.local_ivs.faults import Fault, FaultKind
from tokensvc.outages import REMINDER_INTERVAL_SECONDS
from tokensvc.revocations.leader import RENEWALS_PER_LEASE, RevocationLeader
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.storage.store import Store

pytestmark = pytest.mark.long

LEASE = 12.0
RENEWAL = LEASE / RENEWALS_PER_LEASE
NAME = f"dispatch:{ACCOUNT_REGION.account}:{ACCOUNT_REGION.region}"
SINGLE, BATCH = "StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"


class Scenario:
    """A store, the local IVS with its rate limits, and processes that may lead, all on one clock."""

    def __init__(self, store: Store) -> None:
        self.dispatch = DispatchScenario(store)
        self.clock = self.dispatch.clock
        self.ivs = self.dispatch.ivs
        self.leases = ManualLeases(self.clock)
        self.metrics = PrometheusMetrics()
        self.started: list[RevocationLeader] = []

    def process(self, name: str, queue: Any = None) -> RevocationLeader:
        context = self.dispatch.context()
        if queue is not None:
            context = replace(context, queue=queue)
        leader = RevocationLeader(
            account_region=ACCOUNT_REGION,
            context=context,
            leases=self.leases,
            holder=name,
            metrics=self.metrics,
            rate_fraction=1.0,
            lease_seconds=LEASE,
        )
        self.started.append(leader)
        return leader

    def run(self, seconds: float, *processes: RevocationLeader) -> None:
        """Run these processes concurrently, each as often as it asks for."""
        now = self.clock.monotonic()
        ends_at, again_at = now + seconds, dict.fromkeys(processes, now)
        while (soonest := min(again_at.values())) <= ends_at:
            self.clock.advance(max(0.0, soonest - self.clock.monotonic()))
            process = min(again_at, key=lambda first: again_at[first])
            again_at[process] = self.clock.monotonic() + max(process.run_once(), 0.001)
        self.clock.advance(max(0.0, ends_at - self.clock.monotonic()))

    def busiest_second(self, operation: str) -> int:
        times = [at for at, name, _ in self.ivs.calls if name == operation]
        return max((sum(at <= other < at + 1 for other in times) for at in times), default=0)

    def samples(self, name: str) -> dict[str, float]:
        lines = self.metrics.render().decode().splitlines()
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{")}


@pytest.fixture
def scenario(store: Store) -> Iterator[Scenario]:
    structlog.reset_defaults()
    leader = Scenario(store)
    yield leader
    for process in leader.started:
        process._threads.shutdown()
    leader.dispatch.close()
    structlog.reset_defaults()


def viewers(count: int, prefix: str = "v") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def check(scenario: Scenario) -> None:
    """Nothing is lost, and all leaders together stay within the rates."""
    scenario.dispatch.check_nothing_lost()
    assert scenario.ivs.outcomes["ThrottlingException"] == 0
    assert scenario.busiest_second(SINGLE) <= 10
    assert scenario.busiest_second(BATCH) <= 2


def test_only_one_of_two_processes_leads(scenario: Scenario) -> None:
    first, second = scenario.process("one"), scenario.process("two")
    scenario.dispatch.accept(viewers(400))
    scenario.run(10, first, second)
    assert (first.is_leader, second.is_leader) == (True, False)
    assert scenario.dispatch.queued() == 0
    check(scenario)


def test_after_the_leader_dies_the_other_takes_over_within_the_lease_and_the_rates(scenario: Scenario) -> None:
    first, second = scenario.process("one"), scenario.process("two")
    scenario.dispatch.accept(viewers(1000))
    scenario.run(5.3, first, second)
    died_at, calls_before = scenario.clock.monotonic(), len(scenario.ivs.calls)
    scenario.run(LEASE + RENEWAL + 1.1, second)
    assert scenario.ivs.calls[calls_before][0] - died_at <= LEASE + RENEWAL + 1.1
    make_due(scenario.dispatch.store)
    scenario.run(30, second)
    assert scenario.dispatch.queued() == 0
    check(scenario)


def test_a_stopped_leader_is_replaced_immediately(scenario: Scenario) -> None:
    first, second = scenario.process("one"), scenario.process("two")
    scenario.dispatch.accept(viewers(400))
    scenario.run(3, first, second)
    first.stop()
    assert scenario.leases.held(NAME) is None
    calls_before = len(scenario.ivs.calls)
    scenario.run(RENEWAL + 1.1, second)
    assert len(scenario.ivs.calls) > calls_before
    scenario.run(20, second)
    assert scenario.dispatch.queued() == 0
    assert set(scenario.ivs.delivered.values()) == {1}, "every outcome was recorded"
    check(scenario)


def test_a_process_suspended_beyond_its_lease_makes_no_call(scenario: Scenario) -> None:
    """It is suspended between its check of the lease and its calls."""
    first, second = scenario.process("one"), scenario.process("two")
    scenario.dispatch.accept(viewers(400))
    scenario.run(2, first, second)
    queue = scenario.dispatch.store.revocation_queue

    class Slow:
        record_outcomes, backlogs = queue.record_outcomes, queue.backlogs

        def claim(self, *what: Any) -> Any:
            claimed = queue.claim(*what)
            scenario.run(LEASE + RENEWAL + 2, second)
            return claimed

    frozen = scenario.process("three", Slow())
    first.stop()
    scenario.run(0.1, frozen)  # it holds the lease now
    scenario.clock.advance(1.1)
    before = len(scenario.ivs.calls)
    frozen.run_once()
    assert len(scenario.ivs.calls) > before, "the other process continued"
    assert second.is_leader
    make_due(scenario.dispatch.store)
    scenario.run(20, second, frozen)
    assert not frozen.is_leader
    assert scenario.dispatch.queued() == 0
    check(scenario)


def test_after_an_expired_lease_the_rate_limits_start_exhausted(scenario: Scenario) -> None:
    first = scenario.process("one")
    scenario.dispatch.accept(viewers(400))
    scenario.run(3, first)
    scenario.clock.advance(LEASE + 1)  # as when the machine was suspended
    resumed_at = scenario.clock.monotonic()
    calls_before = len(scenario.ivs.calls)
    scenario.run(5, first)
    assert scenario.ivs.calls[calls_before][0] >= resumed_at + 1


class UnavailableQueue:
    """A queue that cannot record outcomes for a while."""

    def __init__(self, store: Store) -> None:
        self.is_away = False
        self._queue = store.revocation_queue
        self.claim, self.backlogs = self._queue.claim, self._queue.backlogs

    def record_outcomes(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        if self.is_away and outcomes:
            raise StoreUnavailable("the store cannot be reached")
        self._queue.record_outcomes(outcomes)


def test_outcomes_are_recorded_after_an_outage_even_if_the_lease_has_expired(scenario: Scenario) -> None:
    queue = UnavailableQueue(scenario.dispatch.store)
    first = scenario.process("one", queue)
    scenario.dispatch.accept(viewers(40))
    first.run_once()
    scenario.clock.advance(1.1)
    queue.is_away = True
    with pytest.raises(StoreUnavailable):
        first.run_once()
    scenario.clock.advance(LEASE + 1)
    with pytest.raises(StoreUnavailable):
        first.run_once()
    queue.is_away = False
    scenario.run(5, first)
    assert scenario.dispatch.queued() == 0
    assert set(scenario.ivs.delivered.values()) == {1}


def test_an_ivs_outage_is_reported_and_everything_is_delivered_afterwards(scenario: Scenario) -> None:
    first = scenario.process("one")
    scenario.dispatch.accept(viewers(300))
    scenario.ivs.faults.plan(Fault(FaultKind.DROP_BEFORE))
    with capture_logs() as lines:
        for _ in range(60):
            make_due(scenario.dispatch.store)
            scenario.run(60, first)
    assert texts(first.problems) == [f"{ACCOUNT_REGION.region}: IVS rejects all revocations: ConnectionClosedError"]
    calls_before = [line for line in lines if line["event"] == "IVS did not accept every revocation"]
    assert 50 <= len(calls_before) <= 3600 / REMINDER_INTERVAL_SECONDS + 1
    assert {code for line in calls_before for code in line["codes"]} == {"ConnectionClosedError"}
    assert not [line for line in lines if "v1" in str(line).split("codes")[0]], "no viewer is logged"
    assert scenario.samples("tokensvc_revocation_errors_total")["ConnectionClosedError"] >= 300
    assert scenario.samples("tokensvc_revocations_total")["deferred"] >= 300
    scenario.ivs.faults.clear()
    with capture_logs() as lines:
        for _ in range(6):
            make_due(scenario.dispatch.store)
            scenario.run(10, first)
    [recovered] = [line for line in lines if line["event"] == "IVS accepts revocations again"]
    assert 3540 <= recovered["seconds"] <= 3660
    assert scenario.dispatch.queued() == 0
    assert not first.problems
    assert scenario.samples("tokensvc_revocations_total")["sent"] == 300
    check(scenario)


def test_a_permanent_error_is_counted_and_logged_once(scenario: Scenario) -> None:
    scenario.ivs.errors = dict.fromkeys(
        (SINGLE, BATCH), ControlPlaneDenied("no", operation="", ivs_code="AccessDeniedException")
    )
    first = scenario.process("one")
    scenario.dispatch.accept(viewers(5))
    with capture_logs() as lines:
        for _ in range(5):
            make_due(scenario.dispatch.store)
            scenario.run(2, first)
    assert scenario.dispatch.queued() == 0
    assert scenario.samples("tokensvc_revocations_total")["failed"] == 5
    calls_before: list[Mapping[str, Any]] = [line for line in lines if "codes" in line]
    assert calls_before
    assert {code for line in calls_before for code in line["codes"]} == {"AccessDeniedException"}


def test_a_leader_steps_down_if_a_restored_store_has_given_its_lease_to_another(scenario: Scenario) -> None:
    first, second = scenario.process("a"), scenario.process("b")
    first.run_once()
    assert first.is_leader
    scenario.leases.release(NAME, "a")  # as in a backup from before it was the leader
    second.run_once()
    assert second.is_leader
    first.run_once()
    assert first.is_leader, "it does not check before the renewal is due"
    first.reacquire_lease()
    first.run_once()
    assert (first.is_leader, second.is_leader) == (False, True)
