"""Whatever waits is found and served, place by place, and what is over is given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.clocks import ManualClock
from tests.support.dispatchers import DispatchScenario as Plane
from tests.support.leases import ManualLeases
from tests.support.local_control_plane import PLACE
from tests.support.problems import make_problem, texts
from tests.support.processes import wait_until
from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.remedies import problem_sentence
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.revocations.dispatcher import ServedRegions
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

ELSEWHERE = AccountRegion("123456789012", "eu-west-1")


class Queue:
    """A queue of which a test says what waits; nothing in it is ever due."""

    def __init__(self) -> None:
        self.there: dict[AccountRegion, Backlog] = {}
        self.looks = 0

    def backlogs(self) -> dict[AccountRegion, Backlog]:
        self.looks += 1
        return dict(self.there)

    def claim(self, account_region: AccountRegion, priority: Priority, limit: int, seconds: float) -> list[QueueEntry]:
        return []

    def record_outcomes(self, outcomes: object) -> None:
        assert not list(outcomes)  # type: ignore[call-overload]


class Process:
    """One process's duty over such a queue."""

    def __init__(self, store: Store, leases: ManualLeases, clock: ManualClock) -> None:
        self.queue = Queue()
        self.clock = clock
        self.metrics = PrometheusMetrics()
        self.led: list[RevocationLeader] = []
        self._plane = Plane(store)
        self._leases = leases
        self.nowhere: set[str] = set()
        """Regions that the settings do not name."""
        regions = ServedRegions(
            store.keys, store.deployment, lambda: [p.region for p in self.queue.there if p.region not in self.nowhere]
        )
        self.dispatch = RevocationScheduler(
            queue=self.queue, make_leader=self._lead, regions=regions, clock=clock, metrics=self.metrics
        )

    def _lead(self, account_region: AccountRegion) -> RevocationLeader:
        context = replace(self._plane.context(), queue=self.queue, clock=self.clock)
        made = RevocationLeader(
            account_region=account_region,
            context=context,
            leases=self._leases,
            holder=f"p{len(self.led)}",
            metrics=self.metrics,
            rate_fraction=1.0,
            lease_seconds=12,
        )
        self.led.append(made)
        return made

    def serve(self, **waiting: Backlog) -> None:
        """Let this wait, and look until somebody leads there."""
        self.queue.there = {AccountRegion("123456789012", region.replace("_", "-")): w for region, w in waiting.items()}
        self.dispatch.wake()
        self.dispatch.run_once()
        wait_until(lambda: all(leading.is_leader for leading in self.led), "somebody leads", 5)

    def close(self) -> None:
        self.dispatch.stop()
        self._plane.close()


@pytest.fixture
def leases(clock: ManualClock) -> ManualLeases:
    return ManualLeases(clock)


@pytest.fixture
def process(store: Store, leases: ManualLeases, clock: ManualClock) -> Iterator[Process]:
    made = Process(store, leases, clock)
    yield made
    made.close()


def lease(account_region: AccountRegion) -> str:
    return lease_name(account_region)


def test_each_place_in_which_anything_waits_is_led(process: Process, leases: ManualLeases) -> None:
    process.dispatch.run_once()
    assert not process.led
    process.serve(us_west_2=Backlog(3, 1.0), eu_west_1=Backlog(1, 0.0))
    assert leases.held(lease(PLACE)) is not None
    assert leases.held(lease(ELSEWHERE)) is not None


def test_what_waits_is_shown(process: Process) -> None:
    process.serve(us_west_2=Backlog(3, 7.0), eu_west_1=Backlog(1, 2.0))
    assert "tokensvc_revocation_queue_depth 4.0" in process.metrics.render().decode()
    assert "tokensvc_revocation_queue_oldest_age_seconds 7.0" in process.metrics.render().decode()


def test_the_queue_is_counted_each_second_by_who_leads_and_seldom_by_who_does_not(
    process: Process, clock: ManualClock
) -> None:
    for seconds, looks in ((0, 1), (FOLLOWER_COUNT_SECONDS - 0.1, 1), (0.2, 2)):
        clock.advance(seconds)
        process.dispatch.run_once()
        assert process.queue.looks == looks
    process.serve(us_west_2=Backlog(3, 1.0))
    clock.advance(FOLLOWER_COUNT_SECONDS)
    for _ in range(5):
        process.dispatch.run_once()
        clock.advance(LEADER_COUNT_SECONDS)
    assert process.queue.looks == 3 + 5


def test_who_is_told_that_something_was_accepted_looks_at_once(process: Process) -> None:
    process.dispatch.run_once()
    process.dispatch.wake()
    process.dispatch.run_once()
    assert process.queue.looks == 2


def test_an_entry_that_waits_long_is_trouble_of_who_leads(process: Process, clock: ManualClock) -> None:
    process.serve(us_west_2=Backlog(3, LATE_SECONDS))
    assert not process.dispatch.problems
    process.serve(us_west_2=Backlog(5000, LATE_SECONDS + 1))
    assert texts(process.dispatch.problems) == ["us-west-2: 5000 revocations are queued, the oldest for 61 s"]
    process.serve()
    assert not process.dispatch.problems


def test_a_place_where_nothing_waited_for_a_while_is_given_up_and_taken_again(
    process: Process, leases: ManualLeases, clock: ManualClock
) -> None:
    process.serve(us_west_2=Backlog(3, 1.0))
    process.serve()
    [first] = process.led
    process.clock.advance(IDLE_REGION_SECONDS)
    process.dispatch.run_once()
    assert first.is_leader, "the next revocation need not wait for an election"
    process.clock.advance(FOLLOWER_COUNT_SECONDS)
    process.dispatch.run_once()
    wait_until(lambda: not first.is_leader, "it was given up", 5)
    process.led.clear()
    process.serve(us_west_2=Backlog(1, 0.0))
    assert leases.held(lease(PLACE)) is not None


def test_a_clean_stop_gives_every_lease_up(process: Process, leases: ManualLeases) -> None:
    process.serve(us_west_2=Backlog(3, 1.0), eu_west_1=Backlog(1, 0.0))
    process.dispatch.stop()
    assert leases.held(lease(PLACE)) is None
    assert leases.held(lease(ELSEWHERE)) is None


def test_however_many_places_are_named_so_many_are_served_at_a_time_the_longest_waiting_first(
    process: Process, leases: ManualLeases
) -> None:
    process.serve(**{f"r{number}": Backlog(1, float(number)) for number in range(REGIONS_MAX + 5)})
    assert len(process.led) == REGIONS_MAX
    assert leases.held(lease(AccountRegion("123456789012", "r4"))) is None
    assert leases.held(lease(AccountRegion("123456789012", f"r{REGIONS_MAX + 4}"))) is not None


def test_a_place_whose_ivs_takes_nothing_gives_way_to_one_that_waits(process: Process, leases: ManualLeases) -> None:
    """A caller that misspells many regions stops nobody else's revocations."""
    misspelt = {f"r{number}": Backlog(1, 1000.0 + number) for number in range(REGIONS_MAX)}
    process.serve(**misspelt)
    process.serve(**misspelt, us_west_2=Backlog(1, 0.0))
    assert len(process.led) == REGIONS_MAX, "as long as each has its use nobody gives way"
    process.led[7].problems = (make_problem("IVS takes no revocations"),)
    process.dispatch.wake()
    process.dispatch.run_once()
    wait_until(lambda: leases.held(lease(PLACE)) is not None, "its turn has come", 5)
    wait_until(lambda: not process.led[7].is_leader, "it gave way", 5)
    wait_until(lambda: sum(leading.is_leader for leading in process.led) == REGIONS_MAX, "all others lead", 5)


def test_a_place_where_nothing_waits_gives_way_at_once(process: Process, leases: ManualLeases) -> None:
    idle = {f"r{number}": Backlog(1, 1.0) for number in range(REGIONS_MAX)}
    process.serve(**idle)
    del idle["r3"]
    process.queue.there = {AccountRegion("123456789012", region): w for region, w in idle.items()} | {
        PLACE: Backlog(1, 0.0)
    }
    process.dispatch.wake()
    process.dispatch.run_once()
    wait_until(lambda: leases.held(lease(PLACE)) is not None, "its turn has come", 5)
    wait_until(lambda: leases.held(lease(AccountRegion("123456789012", "r3"))) is None, "it gave way", 5)


def test_a_region_of_no_key_and_no_setting_gets_no_thread_and_no_lease_and_is_reported(
    process: Process, leases: ManualLeases
) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    invented = {f"invented_{number}": Backlog(1, 90.0 + number) for number in range(200)}
    process.nowhere = {name.replace("_", "-") for name in invented}
    process.serve(us_west_2=Backlog(3, 1.0), **invented)
    assert [leading._account_region for leading in process.led] == [PLACE]
    assert list(leases.all_held("dispatch:")) == [lease(PLACE)]
    assert {thread.name for thread in threading.enumerate()} - threads <= {"task-dispatch"}
    assert len(process.dispatch.problems) == UNSERVED_REPORTED_MAX
    assert problem_sentence(process.dispatch.problems[0]) == (
        "invented-0: 1 revocations are queued for account 123456789012, where this deployment has no key; "
        "add the region to TOKENSVC_REGIONS, or cancel them: tokensvc revocations cancel"
    )
    process.nowhere.remove("invented-7")
    process.dispatch.wake()
    process.dispatch.run_once()
    wait_until(lambda: len(leases.all_held("dispatch:")) == 2, "the region is served once it is configured", 5)
