"""Who leads in a place tells IVS what waits there, alone, and no longer than its lease lasts."""

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
from tests.support.local_control_plane import PLACE
from tests.support.problems import texts
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.errors import ControlPlaneDenied, StoreUnavailable
from tokensvc.local_ivs.faults import Fault, FaultKind
from tokensvc.outages import REMINDER_INTERVAL_SECONDS
from tokensvc.revocations.leader import RENEWALS_PER_LEASE, RevocationLeader
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

LEASE = 12.0
BEAT = LEASE / RENEWALS_PER_LEASE
NAME = f"dispatch:{PLACE.account}:{PLACE.region}"
SINGLE, BATCH = "StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"


class Stage:
    """A store, the local IVS with its rates on, and processes that may lead, all on one clock."""

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
        made = RevocationLeader(
            account_region=PLACE,
            context=context,
            leases=self.leases,
            holder=name,
            metrics=self.metrics,
            rate_fraction=1.0,
            lease_seconds=LEASE,
        )
        self.started.append(made)
        return made

    def run(self, seconds: float, *processes: RevocationLeader) -> None:
        """Let these processes work side by side, each as often as it wants to."""
        now = self.clock.monotonic()
        ends_at, again_at = now + seconds, dict.fromkeys(processes, now)
        while (soonest := min(again_at.values())) <= ends_at:
            self.clock.advance(max(0.0, soonest - self.clock.monotonic()))
            process = min(again_at, key=lambda one: again_at[one])
            again_at[process] = self.clock.monotonic() + max(process.run_once(), 0.001)
        self.clock.advance(max(0.0, ends_at - self.clock.monotonic()))

    def busiest_second(self, operation: str) -> int:
        times = [at for at, name, _ in self.ivs.calls if name == operation]
        return max((sum(at <= other < at + 1 for other in times) for at in times), default=0)

    def figures(self, name: str) -> dict[str, float]:
        lines = self.metrics.render().decode().splitlines()
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{")}


@pytest.fixture
def stage(store: Store) -> Iterator[Stage]:
    structlog.reset_defaults()
    made = Stage(store)
    yield made
    for process in made.started:
        process._threads.shutdown()
    made.dispatch.close()
    structlog.reset_defaults()


def viewers(count: int, prefix: str = "v") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def check(stage: Stage) -> None:
    """Nothing is lost, and two leaders together kept the rates."""
    stage.dispatch.check_nothing_lost()
    assert stage.ivs.outcomes["ThrottlingException"] == 0
    assert stage.busiest_second(SINGLE) <= 10
    assert stage.busiest_second(BATCH) <= 2


def test_one_of_two_leads_and_the_other_waits(stage: Stage) -> None:
    one, two = stage.process("one"), stage.process("two")
    stage.dispatch.accept(viewers(400))
    stage.run(10, one, two)
    assert (one.is_leader, two.is_leader) == (True, False)
    assert stage.dispatch.queued() == 0
    check(stage)


def test_when_the_leader_dies_the_other_goes_on_within_the_lease_and_no_faster_than_allowed(stage: Stage) -> None:
    one, two = stage.process("one"), stage.process("two")
    stage.dispatch.accept(viewers(1000))
    stage.run(5.3, one, two)
    died_at, told = stage.clock.monotonic(), len(stage.ivs.calls)
    stage.run(LEASE + BEAT + 1.1, two)
    assert stage.ivs.calls[told][0] - died_at <= LEASE + BEAT + 1.1
    make_due(stage.dispatch.store)
    stage.run(30, two)
    assert stage.dispatch.queued() == 0
    check(stage)


def test_a_leader_that_stops_gives_way_at_once(stage: Stage) -> None:
    one, two = stage.process("one"), stage.process("two")
    stage.dispatch.accept(viewers(400))
    stage.run(3, one, two)
    one.stop()
    assert stage.leases.held(NAME) is None
    told = len(stage.ivs.calls)
    stage.run(BEAT + 1.1, two)
    assert len(stage.ivs.calls) > told
    stage.run(20, two)
    assert stage.dispatch.queued() == 0
    assert set(stage.ivs.told.values()) == {1}, "nothing was left unsettled"
    check(stage)


def test_one_that_was_held_up_beyond_its_lease_calls_no_more(stage: Stage) -> None:
    """It stood still between its look at the lease and its calls, as a process does that is frozen."""
    one, two = stage.process("one"), stage.process("two")
    stage.dispatch.accept(viewers(400))
    stage.run(2, one, two)
    queue = stage.dispatch.store.revocation_queue

    class Slow:
        record_outcomes, backlogs = queue.record_outcomes, queue.backlogs

        def claim(self, *what: Any) -> Any:
            claimed = queue.claim(*what)
            stage.run(LEASE + BEAT + 2, two)
            return claimed

    frozen = stage.process("three", Slow())
    one.stop()
    stage.run(0.1, frozen)  # it has the lease now
    stage.clock.advance(1.1)
    before = len(stage.ivs.calls)
    frozen.run_once()
    assert len(stage.ivs.calls) > before, "the other went on"
    assert two.is_leader
    make_due(stage.dispatch.store)
    stage.run(20, two, frozen)
    assert not frozen.is_leader
    assert stage.dispatch.queued() == 0
    check(stage)


def test_a_lease_that_lapsed_begins_anew_with_allowances_used_up(stage: Stage) -> None:
    one = stage.process("one")
    stage.dispatch.accept(viewers(400))
    stage.run(3, one)
    stage.clock.advance(LEASE + 1)  # the machine slept
    began = stage.clock.monotonic()
    told = len(stage.ivs.calls)
    stage.run(5, one)
    assert stage.ivs.calls[told][0] >= began + 1


class Away:
    """A queue that cannot be reached for a while."""

    def __init__(self, store: Store) -> None:
        self.is_away = False
        self._queue = store.revocation_queue
        self.claim, self.backlogs = self._queue.claim, self._queue.backlogs

    def record_outcomes(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        if self.is_away and outcomes:
            raise StoreUnavailable("the store cannot be reached")
        self._queue.record_outcomes(outcomes)


def test_what_was_told_before_the_store_went_away_is_settled_although_the_lease_lapsed(stage: Stage) -> None:
    away = Away(stage.dispatch.store)
    one = stage.process("one", away)
    stage.dispatch.accept(viewers(40))
    one.run_once()
    stage.clock.advance(1.1)
    away.is_away = True
    with pytest.raises(StoreUnavailable):
        one.run_once()
    stage.clock.advance(LEASE + 1)
    with pytest.raises(StoreUnavailable):
        one.run_once()
    away.is_away = False
    stage.run(5, one)
    assert stage.dispatch.queued() == 0
    assert set(stage.ivs.told.values()) == {1}


def test_an_hour_without_ivs_is_trouble_and_then_everything_is_delivered(stage: Stage) -> None:
    one = stage.process("one")
    stage.dispatch.accept(viewers(300))
    stage.ivs.faults.plan(Fault(FaultKind.DROP_BEFORE))
    with capture_logs() as lines:
        for _ in range(60):
            make_due(stage.dispatch.store)
            stage.run(60, one)
    assert texts(one.problems) == [f"{PLACE.region}: IVS rejects all revocations: ConnectionClosedError"]
    told = [line for line in lines if line["event"] == "IVS did not accept every revocation"]
    assert 50 <= len(told) <= 3600 / REMINDER_INTERVAL_SECONDS + 1
    assert {code for line in told for code in line["codes"]} == {"ConnectionClosedError"}
    assert not [line for line in lines if "v1" in str(line).split("codes")[0]], "no viewer is in the log"
    assert stage.figures("tokensvc_revocation_errors_total")["ConnectionClosedError"] >= 300
    assert stage.figures("tokensvc_revocations_total")["deferred"] >= 300
    stage.ivs.faults.clear()
    with capture_logs() as lines:
        for _ in range(6):
            make_due(stage.dispatch.store)
            stage.run(10, one)
    [again] = [line for line in lines if line["event"] == "IVS accepts revocations again"]
    assert 3540 <= again["seconds"] <= 3660
    assert stage.dispatch.queued() == 0
    assert not one.problems
    assert stage.figures("tokensvc_revocations_total")["sent"] == 300
    check(stage)


def test_what_is_refused_for_good_is_counted_and_told_once_and_is_no_lasting_trouble(stage: Stage) -> None:
    stage.ivs.refuse = dict.fromkeys(
        (SINGLE, BATCH), ControlPlaneDenied("no", operation="", ivs_code="AccessDeniedException")
    )
    one = stage.process("one")
    stage.dispatch.accept(viewers(5))
    with capture_logs() as lines:
        for _ in range(5):
            make_due(stage.dispatch.store)
            stage.run(2, one)
    assert stage.dispatch.queued() == 0
    assert stage.figures("tokensvc_revocations_total")["failed"] == 5
    told: list[Mapping[str, Any]] = [line for line in lines if "codes" in line]
    assert told
    assert {code for line in told for code in line["codes"]} == {"AccessDeniedException"}


def test_a_leader_whose_lease_a_restored_store_gave_to_another_steps_down_when_it_asks_again(stage: Stage) -> None:
    first, second = stage.process("a"), stage.process("b")
    first.run_once()
    assert first.is_leader
    stage.leases.release(NAME, "a")  # as in a backup from before it led
    second.run_once()
    assert second.is_leader
    first.run_once()
    assert first.is_leader, "it asks again after a while only"
    first.reacquire_lease()
    first.run_once()
    assert (first.is_leader, second.is_leader) == (False, True)
