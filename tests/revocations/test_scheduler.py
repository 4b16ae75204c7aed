"""The scheduler starts a leader wherever revocations are queued, and releases regions that are idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.clocks import ManualClock
from tests.support.dispatchers import DispatchScenario
from tests.support.leases import ManualLeases
from tests.support.local_control_plane import ACCOUNT_REGION
from tests.support.problems import make_problem, texts
from tests.support.processes import wait_until
from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.remedies import problem_sentence
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.leader import RevocationLeader, lease_name
from tokensvc.revocations.model import Priority
from tokensvc.revocations.queue import Backlog, QueueEntry
from tokensvc.revocations.scheduler import (
    FOLLOWER_COUNT_SECONDS,
    IDLE_REGION_SECONDS,
    LATE_SECONDS,
    LEADER_COUNT_SECONDS,
    REGIONS_MAX,
    UNSERVED_REPORTED_MAX,
    RevocationScheduler,
)
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

ELSEWHERE = AccountRegion("123456789012", "eu-west-1")


class FakeQueue:
    """A queue whose backlogs a test sets; nothing in it is ever due."""

    def __init__(self) -> None:
        self.waiting: dict[AccountRegion, Backlog] = {}
        self.counts = 0

    def backlogs(self) -> dict[AccountRegion, Backlog]:
        self.counts += 1
        return dict(self.waiting)

    def claim(self, account_region: AccountRegion, priority: Priority, limit: int, seconds: float) -> list[QueueEntry]:
        return []

    def record_outcomes(self, outcomes: object) -> None:
        assert not list(outcomes)  # type: ignore[call-overload]


class SchedulerProcess:
    """One process's scheduler over such a queue."""

    def __init__(self, store: Store, leases: ManualLeases, clock: ManualClock) -> None:
        self.queue = FakeQueue()
        self.clock = clock
        self.metrics = PrometheusMetrics()
        self.leaders: list[RevocationLeader] = []
        self._scenario = DispatchScenario(store)
        self._leases = leases
        self.unconfigured: set[str] = set()
        """Regions that are not configured."""
        regions = ServedRegions(
            store.keys,
            store.deployment,
            lambda: [p.region for p in self.queue.waiting if p.region not in self.unconfigured],
        )
        self.scheduler = RevocationScheduler(
            queue=self.queue, make_leader=self._make_leader, regions=regions, clock=clock, metrics=self.metrics
        )

    def _make_leader(self, account_region: AccountRegion) -> RevocationLeader:
        context = replace(self._scenario.context(), queue=self.queue, clock=self.clock)
        leader = RevocationLeader(
            account_region=account_region,
            context=context,
            leases=self._leases,
            holder=f"p{len(self.leaders)}",
            metrics=self.metrics,
            rate_fraction=1.0,
            lease_seconds=12,
        )
        self.leaders.append(leader)
        return leader

    def serve(self, **waiting: Backlog) -> None:
        """Set the backlogs, run once, and wait until every region has a leader."""
        self.queue.waiting = {
            AccountRegion("123456789012", region.replace("_", "-")): w for region, w in waiting.items()
        }
        self.scheduler.wake()
        self.scheduler.run_once()
        wait_until(lambda: all(leader.is_leader for leader in self.leaders), "every region has a leader")

    def close(self) -> None:
        self.scheduler.stop()
        self._scenario.close()


@pytest.fixture
def leases(clock: ManualClock) -> ManualLeases:
    return ManualLeases(clock)


@pytest.fixture
def process(store: Store, leases: ManualLeases, clock: ManualClock) -> Iterator[SchedulerProcess]:
    leader = SchedulerProcess(store, leases, clock)
    yield leader
    leader.close()


def lease(account_region: AccountRegion) -> str:
    return lease_name(account_region)


def test_each_region_with_a_backlog_gets_a_leader(process: SchedulerProcess, leases: ManualLeases) -> None:
    process.scheduler.run_once()
    assert not process.leaders
    process.serve(us_west_2=Backlog(3, 1.0), eu_west_1=Backlog(1, 0.0))
    assert leases.held(lease(ACCOUNT_REGION)) is not None
    assert leases.held(lease(ELSEWHERE)) is not None


def test_the_backlog_is_exported_as_metrics(process: SchedulerProcess) -> None:
    process.serve(us_west_2=Backlog(3, 7.0), eu_west_1=Backlog(1, 2.0))
    assert "tokensvc_revocation_queue_depth 4.0" in process.metrics.render().decode()
    assert "tokensvc_revocation_queue_oldest_age_seconds 7.0" in process.metrics.render().decode()


def test_a_leader_counts_the_queue_each_second_and_others_less_often(
    process: SchedulerProcess, clock: ManualClock
) -> None:
    for seconds, looks in ((0, 1), (FOLLOWER_COUNT_SECONDS - 0.1, 1), (0.2, 2)):
        clock.advance(seconds)
        process.scheduler.run_once()
        assert process.queue.counts == looks
    process.serve(us_west_2=Backlog(3, 1.0))
    clock.advance(FOLLOWER_COUNT_SECONDS)
    for _ in range(5):
        process.scheduler.run_once()
        clock.advance(LEADER_COUNT_SECONDS)
    assert process.queue.counts == 3 + 5


def test_wake_counts_the_queue_immediately(process: SchedulerProcess) -> None:
    process.scheduler.run_once()
    process.scheduler.wake()
    process.scheduler.run_once()
    assert process.queue.counts == 2


def test_the_leader_reports_an_entry_that_waits_long(process: SchedulerProcess, clock: ManualClock) -> None:
    process.serve(us_west_2=Backlog(3, LATE_SECONDS))
    assert not process.scheduler.problems
    process.serve(us_west_2=Backlog(5000, LATE_SECONDS + 1))
    assert texts(process.scheduler.problems) == ["us-west-2: 5000 revocations are queued, the oldest for 61 s"]
    process.serve()
    assert not process.scheduler.problems


def test_an_idle_region_is_released_and_acquired_again(
    process: SchedulerProcess, leases: ManualLeases, clock: ManualClock
) -> None:
    process.serve(us_west_2=Backlog(3, 1.0))
    process.serve()
    [first] = process.leaders
    process.clock.advance(IDLE_REGION_SECONDS)
    process.scheduler.run_once()
    assert first.is_leader, "the next revocation need not wait for an election"
    process.clock.advance(FOLLOWER_COUNT_SECONDS)
    process.scheduler.run_once()
    wait_until(lambda: lease(ACCOUNT_REGION) not in leases.unreleased, "the region is released")
    process.leaders.clear()
    process.serve(us_west_2=Backlog(1, 0.0))
    assert leases.held(lease(ACCOUNT_REGION)) is not None


def test_a_clean_stop_releases_every_lease(process: SchedulerProcess, leases: ManualLeases) -> None:
    process.serve(us_west_2=Backlog(3, 1.0), eu_west_1=Backlog(1, 0.0))
    process.scheduler.stop()
    assert leases.held(lease(ACCOUNT_REGION)) is None
    assert leases.held(lease(ELSEWHERE)) is None


def test_at_most_regions_max_are_served_at_a_time_the_oldest_backlogs_first(
    process: SchedulerProcess, leases: ManualLeases
) -> None:
    process.serve(**{f"r{number}": Backlog(1, float(number)) for number in range(REGIONS_MAX + 5)})
    assert len(process.leaders) == REGIONS_MAX
    assert leases.held(lease(AccountRegion("123456789012", "r4"))) is None
    assert leases.held(lease(AccountRegion("123456789012", f"r{REGIONS_MAX + 4}"))) is not None


def test_a_region_whose_ivs_accepts_nothing_is_replaced_by_a_waiting_one(
    process: SchedulerProcess, leases: ManualLeases
) -> None:
    """A caller that misspells many regions does not block the revocations of others."""
    misspelt = {f"r{number}": Backlog(1, 1000.0 + number) for number in range(REGIONS_MAX)}
    process.serve(**misspelt)
    process.serve(**misspelt, us_west_2=Backlog(1, 0.0))
    assert len(process.leaders) == REGIONS_MAX, "none is replaced while all are in use"
    process.leaders[7].problems = (make_problem("IVS takes no revocations"),)
    process.scheduler.wake()
    process.scheduler.run_once()
    wait_until(lambda: leases.held(lease(ACCOUNT_REGION)) is not None, "the waiting region is served")
    wait_until(lambda: not process.leaders[7].is_leader, "the region is released")
    wait_until(lambda: sum(leader.is_leader for leader in process.leaders) == REGIONS_MAX, "all others lead")


def test_a_region_without_a_backlog_is_replaced_immediately(process: SchedulerProcess, leases: ManualLeases) -> None:
    idle = {f"r{number}": Backlog(1, 1.0) for number in range(REGIONS_MAX)}
    process.serve(**idle)
    del idle["r3"]
    process.queue.waiting = {AccountRegion("123456789012", region): w for region, w in idle.items()} | {
        ACCOUNT_REGION: Backlog(1, 0.0)
    }
    process.scheduler.wake()
    process.scheduler.run_once()
    wait_until(lambda: leases.held(lease(ACCOUNT_REGION)) is not None, "the waiting region is served")
    wait_until(lambda: leases.held(lease(AccountRegion("123456789012", "r3"))) is None, "the region is released")


def test_an_unserved_region_gets_no_thread_and_no_lease_and_is_reported(
    process: SchedulerProcess, leases: ManualLeases
) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    invented = {f"invented_{number}": Backlog(1, 90.0 + number) for number in range(200)}
    process.unconfigured = {name.replace("_", "-") for name in invented}
    process.serve(us_west_2=Backlog(3, 1.0), **invented)
    assert [leader._account_region for leader in process.leaders] == [ACCOUNT_REGION]
    assert list(leases.all_held("dispatch:")) == [lease(ACCOUNT_REGION)]
    assert {thread.name for thread in threading.enumerate()} - threads <= {"task-dispatch"}
    assert len(process.scheduler.problems) == UNSERVED_REPORTED_MAX
    assert problem_sentence(process.scheduler.problems[0]) == (
        "invented-0: 1 revocations are queued for account 123456789012, where this deployment has no key; "
        "add the region to TOKENSVC_REGIONS, or cancel them: tokensvc revocations cancel"
    )
    process.unconfigured.remove("invented-7")
    process.scheduler.wake()
    process.scheduler.run_once()
    wait_until(lambda: len(leases.all_held("dispatch:")) == 2, "the region is served once it is configured")
