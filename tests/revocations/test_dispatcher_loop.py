"""Dispatch against the local IVS with its real rates on: everything arrives, as fast as IVS allows and no faster."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.storage.samples import EVERYONE, make_due
from tests.support.dispatchers import DispatchScenario
from tests.support.local_control_plane import PLACE
from tokensvc.errors import ControlPlaneDenied, StoreUnavailable
from tokensvc.local_ivs.faults import Fault, FaultKind
from tokensvc.revocations.dispatcher import IDLE_POLL_SECONDS, MAX_OUTAGE_BACKOFF_SECONDS, Dispatcher
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import INTERACTIVE_MAX, DeliveryOutcome, RevocationQueue
from tokensvc.revocations.rate_limit import BATCH_VIEWERS, VIEWERS_PER_SECOND
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

SINGLE, BATCH = "StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"


@pytest.fixture
def dispatch(store: Store) -> Iterator[DispatchScenario]:
    made = DispatchScenario(store)
    yield made
    made.close()


def viewers(count: int, prefix: str = "v") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def called(dispatch: DispatchScenario, operation: str) -> list[float]:
    return [at for at, name, _ in dispatch.ivs.calls if name == operation]


def busiest_second(times: list[float]) -> int:
    return max((sum(at <= other < at + 1 for other in times) for at in times), default=0)


def test_ten_thousand_drain_at_nearly_ivs_full_rate(dispatch: DispatchScenario) -> None:
    """At least 95 % of 50 a second, no throttle caused, none lost, none repeated."""
    dispatch.accept(viewers(10_000))
    dispatch.run(dispatch.dispatcher(rate_fraction=1.0), 10_000 / (0.95 * VIEWERS_PER_SECOND))
    assert dispatch.queued() == 0
    assert set(dispatch.ivs.outcomes) == {"ok"}
    assert set(dispatch.ivs.told.values()) == {1}
    dispatch.check_nothing_lost()


@pytest.mark.parametrize("rate_fraction", [0.8, 0.3])
def test_no_second_sees_more_than_the_share_of_each_rate(dispatch: DispatchScenario, rate_fraction: float) -> None:
    """A call a second at least, however small the share."""
    dispatch.accept(viewers(600))
    dispatch.run(dispatch.dispatcher(rate_fraction), 10)
    assert busiest_second(called(dispatch, SINGLE)) == int(10 * rate_fraction)
    assert busiest_second(called(dispatch, BATCH)) <= 2
    told = sum(dispatch.ivs.told.values())
    assert 0.9 * 9 * rate_fraction * VIEWERS_PER_SECOND <= told <= 10 * rate_fraction * VIEWERS_PER_SECOND


def test_a_new_leader_waits_until_the_last_ones_second_is_over(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(600))
    for _ in range(3):
        began = dispatch.clock.monotonic()
        dispatch.run(dispatch.dispatcher(), 2.5)
        assert min(at for at, _, _ in dispatch.ivs.calls if at >= began) >= began + 1
    assert set(dispatch.ivs.outcomes) == {"ok"}
    assert busiest_second(called(dispatch, SINGLE)) <= 10


def test_the_oldest_go_first(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(200))
    dispatch.run(dispatch.dispatcher(), 3)
    told = sorted(int(viewer[1:]) for viewer in dispatch.ivs.told)
    assert told == list(range(len(told)))
    assert 50 <= len(told) < 200


def test_a_fresh_one_is_not_stuck_behind_a_storm(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(2_000))
    dispatcher = dispatch.dispatcher()
    dispatch.run(dispatcher, 5)
    fresh = dispatch.accept(["fresh"], Priority.INTERACTIVE)
    dispatch.run(dispatcher, 1.1)
    assert dispatch.state(fresh[0]) is RevocationState.SENT
    assert dispatch.queued() > 1_000


def test_many_who_ask_alone_do_not_hold_up_a_storm(dispatch: DispatchScenario) -> None:
    """Each keeps the allowance that is its own."""
    storm = dispatch.accept(viewers(80, "s"))
    for name in viewers(INTERACTIVE_MAX, "a"):
        dispatch.accept([name], Priority.INTERACTIVE)
    dispatch.run(dispatch.dispatcher(), 2.2)
    assert {dispatch.state(name) for name in storm} == {RevocationState.SENT}
    assert len([v for v in dispatch.ivs.told if v.startswith("a")]) == 20


def test_what_one_lane_leaves_idle_the_other_takes(dispatch: DispatchScenario) -> None:
    for name in viewers(50):
        dispatch.accept([name], Priority.INTERACTIVE)
    dispatch.run(dispatch.dispatcher(), 1.1)
    assert dispatch.queued() == 0
    assert len(called(dispatch, SINGLE)) == 10
    assert len(called(dispatch, BATCH)) == 2
    dispatch.accept(viewers(50, "s"))
    dispatch.run(dispatch.dispatcher(), 1.1)
    assert dispatch.queued() == 0
    assert len(called(dispatch, SINGLE)) == 20


def test_an_empty_queue_is_looked_at_now_and_then(dispatch: DispatchScenario) -> None:
    dispatcher = dispatch.dispatcher()
    dispatch.clock.advance(5)
    assert dispatcher.run_once() == (0, 0, 0, {}, IDLE_POLL_SECONDS)
    assert not dispatch.ivs.calls


def test_ivs_is_always_told_the_version(dispatch: DispatchScenario) -> None:
    """A call without one revokes version 0 alone."""
    dispatch.accept(["alone"], Priority.INTERACTIVE)
    dispatch.accept(viewers(3))
    dispatch.drain(dispatch.dispatcher())
    for (channel, viewer), version in dispatch.asked.items():
        assert dispatch.ivs.revoked(channel, viewer) == version > 1_000_000_000


def test_a_missing_channel_ends_as_failed_with_ivs_own_code(dispatch: DispatchScenario) -> None:
    missing = dispatch.channel[:-3] + "xyz"
    [alone] = dispatch.accept(["alone"], Priority.INTERACTIVE, channel=missing)
    lost = dispatch.accept(viewers(3), channel=missing)
    good = dispatch.accept(viewers(3, "g"))
    dispatcher = dispatch.dispatcher()
    dispatch.drain(dispatcher)
    for name in [alone, *lost]:
        [target] = dispatch.store.revocations.get(name, EVERYONE).targets
        assert (target.state, target.code, target.attempts) == (RevocationState.FAILED, "ResourceNotFoundException", 1)
    assert {dispatch.state(name) for name in good} == {RevocationState.SENT}
    assert sum(done.failed for done in dispatch.passes) == 4
    assert sum(done.errors_by_code.get("ResourceNotFoundException", 0) for done in dispatch.passes) == 4
    dispatch.store.revocations.retry(alone, EVERYONE)
    dispatch.drain(dispatcher)
    assert dispatch.state(alone) is RevocationState.FAILED


def denied(code: str) -> ControlPlaneDenied:
    return ControlPlaneDenied("no", operation="", ivs_code=code)


def test_where_batches_are_forbidden_each_goes_by_itself(dispatch: DispatchScenario) -> None:
    """As for a role that may make single calls alone."""
    dispatch.ivs.refuse = {BATCH: denied("AccessDeniedException")}
    names = dispatch.accept(viewers(100))
    dispatch.drain(dispatch.dispatcher(), within_seconds=60)
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    dispatch.check_nothing_lost()


def test_access_denied_to_a_single_call_ends_as_failed(dispatch: DispatchScenario) -> None:
    dispatch.ivs.refuse = dict.fromkeys((SINGLE, BATCH), denied("AccessDeniedException"))
    names = dispatch.accept(viewers(30))
    dispatch.drain(dispatch.dispatcher(), within_seconds=60)
    assert {dispatch.state(name) for name in names} == {RevocationState.FAILED}


def test_credentials_that_do_not_hold_fail_nobody(dispatch: DispatchScenario) -> None:
    """They say nothing about a revocation: it waits, as when nothing answers."""
    dispatch.ivs.refuse = dict.fromkeys((SINGLE, BATCH), denied("ExpiredTokenException"))
    names, dispatcher = dispatch.accept(viewers(30)), dispatch.dispatcher()
    dispatch.run(dispatcher, 30)
    assert {dispatch.state(name) for name in names} == {RevocationState.QUEUED}
    dispatch.ivs.refuse = {}
    dispatch.drain(dispatcher)
    dispatch.check_nothing_lost()


def test_when_others_use_the_account_it_slows_and_then_recovers(dispatch: DispatchScenario) -> None:
    """We kept the rate and are throttled all the same."""
    dispatcher = dispatch.dispatcher()
    dispatch.ivs.faults.plan(Fault(FaultKind.THROTTLE))
    dispatch.accept(viewers(3_000))
    for _ in range(20):
        make_due(dispatch.store)
        dispatch.run(dispatcher, 1)
    slow = [at for at in called(dispatch, SINGLE) if at > dispatch.clock.monotonic() - 10]
    assert 1 <= len(slow) <= 20, "a tenth of the full rate or so"
    dispatch.ivs.faults.clear()
    dispatch.ivs.calls.clear()
    dispatch.run(dispatcher, 30)
    recovered = [at for at in called(dispatch, SINGLE) if at > dispatch.clock.monotonic() - 5]
    assert len(recovered) >= 45
    dispatch.drain(dispatcher)
    dispatch.check_nothing_lost()


def test_while_nothing_answers_ivs_is_asked_less_and_less_but_at_least_every_few_seconds(dispatch: DispatchScenario) -> None:
    dispatch.ivs.faults.plan(Fault(FaultKind.DROP_BEFORE))
    dispatch.accept(viewers(1_000))
    dispatcher = dispatch.dispatcher()
    for _ in range(600):
        make_due(dispatch.store)
        dispatch.run(dispatcher, 1)
    asked = sorted({at for at, _, _ in dispatch.ivs.calls})
    pauses = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert max(pauses) <= MAX_OUTAGE_BACKOFF_SECONDS + IDLE_POLL_SECONDS + 1
    assert min(pauses[6:]) > MAX_OUTAGE_BACKOFF_SECONDS / 2 - 1
    assert dispatch.queued() == 1_000
    dispatch.ivs.faults.clear()
    assert dispatch.drain(dispatcher) < 1_000 / 50 + MAX_OUTAGE_BACKOFF_SECONDS + 5
    dispatch.check_nothing_lost()


def test_a_faulty_entry_rests_longer_each_time_and_holds_up_nobody(dispatch: DispatchScenario) -> None:
    dispatcher = dispatch.dispatcher()
    dispatch.ivs.faults.plan(Fault(FaultKind.ERROR, operation=SINGLE))
    [poison] = dispatch.accept(["poison"], Priority.INTERACTIVE)
    for attempts in range(1, 5):
        make_due(dispatch.store)
        dispatch.accept(viewers(25, f"w{attempts}-"))
        dispatch.run(dispatcher, 2.1)
        [target] = dispatch.store.revocations.get(poison, EVERYONE).targets
        assert (target.state, target.code) == (RevocationState.QUEUED, "InternalServerException")
        assert target.attempts >= attempts
    assert len([v for v in dispatch.ivs.told if v.startswith("w")]) >= 80


FAULTS = {
    "dropped before the effect": Fault(FaultKind.DROP_BEFORE, rate=0.3, seed=1),
    "dropped after the effect": Fault(FaultKind.DROP_AFTER, rate=0.3, seed=2),
    "throttled": Fault(FaultKind.THROTTLE, rate=0.3, seed=3),
    "failed": Fault(FaultKind.ERROR, rate=0.3, seed=4),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_with_a_third_of_the_calls_at_fault_nothing_is_lost(dispatch: DispatchScenario, fault: str) -> None:
    dispatch.ivs.faults.plan(FAULTS[fault])
    names = dispatch.accept(viewers(400))
    for name in viewers(20, "a"):
        names += dispatch.accept([name], Priority.INTERACTIVE)
    dispatch.drain(dispatch.dispatcher())
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    assert sum(dispatch.ivs.outcomes.values()) > dispatch.ivs.outcomes["ok"] > 0
    dispatch.check_nothing_lost()


@pytest.mark.parametrize("code", ["InternalServerException", "500", "ThrottlingException", "never seen before"])
def test_entries_of_a_batch_that_are_refused_for_a_while_settle_by_themselves(dispatch: DispatchScenario, code: str) -> None:
    dispatch.ivs.entry_errors = (0.3, code)
    names = dispatch.accept(viewers(300))
    dispatch.drain(dispatch.dispatcher())
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    assert set(dispatch.ivs.told.values()) == {1}, "those that were not refused are not told again"
    dispatch.check_nothing_lost()


@pytest.mark.parametrize("code", ["AccessDeniedException", "403"])
def test_entries_of_a_batch_that_are_refused_for_good_fail_by_themselves(dispatch: DispatchScenario, code: str) -> None:
    dispatch.ivs.entry_errors = (0.3, code)
    names = dispatch.accept(viewers(200))
    dispatch.drain(dispatch.dispatcher())
    states = {name: dispatch.state(name) for name in names}
    failed = [name for name, state in states.items() if state is RevocationState.FAILED]
    assert 20 <= len(failed) <= 100
    assert set(states.values()) == {RevocationState.SENT, RevocationState.FAILED}
    assert {dispatch.store.revocations.get(name, EVERYONE).targets[0].code for name in failed} == {code}
    dispatch.ivs.entry_errors = (0.0, "")
    for name in failed:
        dispatch.store.revocations.retry(name, EVERYONE)
    dispatch.drain(dispatch.dispatcher())
    dispatch.check_nothing_lost()


class SettlingFails:
    """The queue, whose settling fails for a while."""

    def __init__(self, queue: RevocationQueue, failures: int) -> None:
        self._queue = queue
        self._failures = failures
        self.claim = queue.claim
        self.backlogs = queue.backlogs

    def record_outcomes(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        if outcomes and self._failures:
            self._failures -= 1
            raise StoreUnavailable("the store cannot be reached")
        self._queue.record_outcomes(outcomes)


def test_what_was_told_while_the_store_was_away_is_settled_and_not_repeated(dispatch: DispatchScenario) -> None:
    names = dispatch.accept(viewers(40))
    dispatcher = Dispatcher(
        replace(dispatch.context(), queue=SettlingFails(dispatch.store.revocation_queue, 3)), PLACE, 1.0
    )
    dispatch.clock.advance(2)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            dispatcher.run_once()
    dispatch.drain(dispatcher)
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    assert set(dispatch.ivs.told.values()) == {1}


def test_one_that_is_raised_while_its_call_is_under_way_is_told_again(dispatch: DispatchScenario) -> None:
    dispatch.accept(["v"])
    dispatch.ivs.meanwhile = lambda: len(dispatch.ivs.calls) == 1 and dispatch.accept(["v"])
    dispatch.drain(dispatch.dispatcher())
    assert dispatch.ivs.told["v"] == 2
    dispatch.check_nothing_lost()


def test_batches_are_full_when_there_is_enough(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(500))
    dispatch.run(dispatch.dispatcher(), 5)
    assert {size for _, name, size in dispatch.ivs.calls if name == BATCH} == {BATCH_VIEWERS}
