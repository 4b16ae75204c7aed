"""Dispatching to the local IVS with IVS's real rates: everything is delivered, as fast as allowed and no faster."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.storage.samples import EVERYONE, make_due
from tests.support.audit import EVENT
from tests.support.dispatchers import DispatchScenario
from tests.support.local_control_plane import ACCOUNT_REGION
from tokensvc.errors import ControlPlaneDenied, StoreUnavailable
from tokensvc.local_ivs.faults import Fault, FaultKind
from tokensvc.revocations.dispatcher import IDLE_POLL_SECONDS, MAX_OUTAGE_BACKOFF_SECONDS, Dispatcher
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import INTERACTIVE_MAX, DeliveryOutcome, RevocationQueue
from tokensvc.revocations.rate_limit import BATCH_VIEWERS, VIEWERS_PER_SECOND
from tokensvc.storage.store import Store

pytestmark = pytest.mark.long

SINGLE, BATCH = "StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"


@pytest.fixture
def dispatch(store: Store) -> Iterator[DispatchScenario]:
    scenario = DispatchScenario(store)
    yield scenario
    scenario.close()


def viewers(count: int, prefix: str = "v") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def called(dispatch: DispatchScenario, operation: str) -> list[float]:
    return [at for at, name, _ in dispatch.ivs.calls if name == operation]


def busiest_second(times: list[float]) -> int:
    return max((sum(at <= other < at + 1 for other in times) for at in times), default=0)


def test_ten_thousand_are_delivered_at_nearly_the_full_rate(dispatch: DispatchScenario) -> None:
    """At least 95 % of 50 a second, without throttling, losses or repetitions."""
    dispatch.accept(viewers(10_000))
    dispatch.run(dispatch.dispatcher(rate_fraction=1.0), 10_000 / (0.95 * VIEWERS_PER_SECOND))
    assert dispatch.queued() == 0
    assert set(dispatch.ivs.outcomes) == {"ok"}
    assert set(dispatch.ivs.delivered.values()) == {1}
    dispatch.check_nothing_lost()


@pytest.mark.parametrize("rate_fraction", [0.8, 0.3])
def test_no_second_exceeds_the_fraction_of_each_rate(dispatch: DispatchScenario, rate_fraction: float) -> None:
    """At least one call a second, however small the fraction."""
    dispatch.accept(viewers(600))
    dispatch.run(dispatch.dispatcher(rate_fraction), 10)
    assert busiest_second(called(dispatch, SINGLE)) == int(10 * rate_fraction)
    assert busiest_second(called(dispatch, BATCH)) <= 2
    delivered = sum(dispatch.ivs.delivered.values())
    assert 0.9 * 9 * rate_fraction * VIEWERS_PER_SECOND <= delivered <= 10 * rate_fraction * VIEWERS_PER_SECOND


def test_a_new_leader_waits_until_the_last_leaders_second_is_over(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(600))
    for _ in range(3):
        started_at = dispatch.clock.monotonic()
        dispatch.run(dispatch.dispatcher(), 2.5)
        assert min(at for at, _, _ in dispatch.ivs.calls if at >= started_at) >= started_at + 1
    assert set(dispatch.ivs.outcomes) == {"ok"}
    assert busiest_second(called(dispatch, SINGLE)) <= 10


def test_the_oldest_are_sent_first(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(200))
    dispatch.run(dispatch.dispatcher(), 3)
    delivered = sorted(int(viewer[1:]) for viewer in dispatch.ivs.delivered)
    assert delivered == list(range(len(delivered)))
    assert 50 <= len(delivered) < 200


def test_an_interactive_revocation_does_not_wait_for_bulk_ones(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(2_000))
    dispatcher = dispatch.dispatcher()
    dispatch.run(dispatcher, 5)
    fresh = dispatch.accept(["fresh"], Priority.INTERACTIVE)
    dispatch.run(dispatcher, 1.1)
    assert dispatch.state(fresh[0]) is RevocationState.SENT
    assert dispatch.queued() > 1_000


def test_many_interactive_revocations_do_not_delay_bulk_ones(dispatch: DispatchScenario) -> None:
    """Each priority keeps the rate of its own operation."""
    bulk = dispatch.accept(viewers(80, "s"))
    for name in viewers(INTERACTIVE_MAX, "a"):
        dispatch.accept([name], Priority.INTERACTIVE)
    dispatch.run(dispatch.dispatcher(), 2.2)
    assert {dispatch.state(name) for name in bulk} == {RevocationState.SENT}
    assert len([v for v in dispatch.ivs.delivered if v.startswith("a")]) == 20


def test_each_priority_uses_the_idle_capacity_of_the_other(dispatch: DispatchScenario) -> None:
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


def test_an_empty_queue_is_polled_regularly(dispatch: DispatchScenario) -> None:
    dispatcher = dispatch.dispatcher()
    dispatch.clock.advance(5)
    assert dispatcher.run_once() == (0, 0, 0, {}, IDLE_POLL_SECONDS)
    assert not dispatch.ivs.calls


def test_the_version_is_always_sent(dispatch: DispatchScenario) -> None:
    """A call without it revokes version 0 only."""
    dispatch.accept(["alone"], Priority.INTERACTIVE)
    dispatch.accept(viewers(3))
    dispatch.drain(dispatch.dispatcher())
    for (channel, viewer), version in dispatch.accepted_versions.items():
        assert dispatch.ivs.revoked(channel, viewer) == version > 1_000_000_000


def test_a_missing_channel_fails_with_ivs_own_code(dispatch: DispatchScenario) -> None:
    missing = dispatch.channel[:-3] + "xyz"
    [interactive] = dispatch.accept(["alone"], Priority.INTERACTIVE, channel=missing)
    lost = dispatch.accept(viewers(3), channel=missing)
    good = dispatch.accept(viewers(3, "g"))
    dispatcher = dispatch.dispatcher()
    dispatch.drain(dispatcher)
    for name in [interactive, *lost]:
        [target] = dispatch.store.revocations.get(name, EVERYONE).targets
        assert (target.state, target.code, target.attempts) == (RevocationState.FAILED, "ResourceNotFoundException", 1)
    assert {dispatch.state(name) for name in good} == {RevocationState.SENT}
    assert sum(result.failed for result in dispatch.results) == 4
    assert sum(result.errors_by_code.get("ResourceNotFoundException", 0) for result in dispatch.results) == 4
    dispatch.store.revocations.retry(interactive, EVERYONE, event=EVENT)
    dispatch.drain(dispatcher)
    assert dispatch.state(interactive) is RevocationState.FAILED


def denied(code: str) -> ControlPlaneDenied:
    return ControlPlaneDenied("no", operation="", ivs_code=code)


def test_if_batch_calls_are_denied_each_entry_is_sent_by_itself(dispatch: DispatchScenario) -> None:
    """As for a role that may only make single calls."""
    dispatch.ivs.errors = {BATCH: denied("AccessDeniedException")}
    names = dispatch.accept(viewers(100))
    dispatch.drain(dispatch.dispatcher(), within_seconds=60)
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    dispatch.check_nothing_lost()


def test_access_denied_to_a_single_call_fails_the_revocation(dispatch: DispatchScenario) -> None:
    dispatch.ivs.errors = dict.fromkeys((SINGLE, BATCH), denied("AccessDeniedException"))
    names = dispatch.accept(viewers(30))
    dispatch.drain(dispatch.dispatcher(), within_seconds=60)
    assert {dispatch.state(name) for name in names} == {RevocationState.FAILED}


def test_expired_credentials_fail_no_revocation(dispatch: DispatchScenario) -> None:
    """They say nothing about a revocation: it stays queued, as when IVS does not respond."""
    dispatch.ivs.errors = dict.fromkeys((SINGLE, BATCH), denied("ExpiredTokenException"))
    names, dispatcher = dispatch.accept(viewers(30)), dispatch.dispatcher()
    dispatch.run(dispatcher, 30)
    assert {dispatch.state(name) for name in names} == {RevocationState.QUEUED}
    dispatch.ivs.errors = {}
    dispatch.drain(dispatcher)
    dispatch.check_nothing_lost()


def test_throttling_by_others_slows_dispatching_and_it_then_recovers(dispatch: DispatchScenario) -> None:
    """IVS throttles although we stay within its rates."""
    dispatcher = dispatch.dispatcher()
    dispatch.ivs.faults.plan(Fault(FaultKind.THROTTLE))
    dispatch.accept(viewers(3_000))
    for _ in range(20):
        make_due(dispatch.store)
        dispatch.run(dispatcher, 1)
    throttled = [at for at in called(dispatch, SINGLE) if at > dispatch.clock.monotonic() - 10]
    assert 1 <= len(throttled) <= 20, "about a tenth of the full rate"
    dispatch.ivs.faults.clear()
    dispatch.ivs.calls.clear()
    dispatch.run(dispatcher, 30)
    recovered = [at for at in called(dispatch, SINGLE) if at > dispatch.clock.monotonic() - 5]
    assert len(recovered) >= 45
    dispatch.drain(dispatcher)
    dispatch.check_nothing_lost()


def test_while_ivs_does_not_respond_attempts_become_rarer_up_to_a_limit(dispatch: DispatchScenario) -> None:
    dispatch.ivs.faults.plan(Fault(FaultKind.DROP_BEFORE))
    dispatch.accept(viewers(1_000))
    dispatcher = dispatch.dispatcher()
    for _ in range(600):
        make_due(dispatch.store)
        dispatch.run(dispatcher, 1)
    attempted_at = sorted({at for at, _, _ in dispatch.ivs.calls})
    pauses = [later - sooner for sooner, later in itertools.pairwise(attempted_at)]
    assert max(pauses) <= MAX_OUTAGE_BACKOFF_SECONDS + IDLE_POLL_SECONDS + 1
    assert min(pauses[6:]) > MAX_OUTAGE_BACKOFF_SECONDS / 2 - 1
    assert dispatch.queued() == 1_000
    dispatch.ivs.faults.clear()
    assert dispatch.drain(dispatcher) < 1_000 / 50 + MAX_OUTAGE_BACKOFF_SECONDS + 5
    dispatch.check_nothing_lost()


def test_a_failing_entry_backs_off_and_delays_no_other(dispatch: DispatchScenario) -> None:
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
    assert len([v for v in dispatch.ivs.delivered if v.startswith("w")]) >= 80


FAULTS = {
    "dropped before the effect": Fault(FaultKind.DROP_BEFORE, rate=0.3, seed=1),
    "dropped after the effect": Fault(FaultKind.DROP_AFTER, rate=0.3, seed=2),
    "throttled": Fault(FaultKind.THROTTLE, rate=0.3, seed=3),
    "failed": Fault(FaultKind.ERROR, rate=0.3, seed=4),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_failures_of_a_third_of_the_calls_lose_nothing(dispatch: DispatchScenario, fault: str) -> None:
    dispatch.ivs.faults.plan(FAULTS[fault])
    names = dispatch.accept(viewers(400))
    for name in viewers(20, "a"):
        names += dispatch.accept([name], Priority.INTERACTIVE)
    dispatch.drain(dispatch.dispatcher())
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    assert sum(dispatch.ivs.outcomes.values()) > dispatch.ivs.outcomes["ok"] > 0
    dispatch.check_nothing_lost()


@pytest.mark.parametrize("code", ["InternalServerException", "500", "ThrottlingException", "never seen before"])
def test_temporary_errors_of_batch_entries_are_retried_by_themselves(dispatch: DispatchScenario, code: str) -> None:
    dispatch.ivs.entry_errors = (0.3, code)
    names = dispatch.accept(viewers(300))
    dispatch.drain(dispatch.dispatcher())
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    assert set(dispatch.ivs.delivered.values()) == {1}, "entries without an error are not sent again"
    dispatch.check_nothing_lost()


@pytest.mark.parametrize("code", ["AccessDeniedException", "403"])
def test_permanent_errors_of_batch_entries_fail_only_those(dispatch: DispatchScenario, code: str) -> None:
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
        dispatch.store.revocations.retry(name, EVERYONE, event=EVENT)
    dispatch.drain(dispatch.dispatcher())
    dispatch.check_nothing_lost()


class RecordingFails:
    """The queue, which cannot record outcomes for a while."""

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


def test_outcomes_from_a_store_outage_are_recorded_and_not_sent_again(dispatch: DispatchScenario) -> None:
    names = dispatch.accept(viewers(40))
    dispatcher = Dispatcher(
        replace(dispatch.context(), queue=RecordingFails(dispatch.store.revocation_queue, 3)), ACCOUNT_REGION, 1.0
    )
    dispatch.clock.advance(2)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            dispatcher.run_once()
    dispatch.drain(dispatcher)
    assert {dispatch.state(name) for name in names} == {RevocationState.SENT}
    assert set(dispatch.ivs.delivered.values()) == {1}


def test_an_entry_raised_during_its_call_is_sent_again(dispatch: DispatchScenario) -> None:
    dispatch.accept(["v"])
    dispatch.ivs.during_call = lambda: len(dispatch.ivs.calls) == 1 and dispatch.accept(["v"])
    dispatch.drain(dispatch.dispatcher())
    assert dispatch.ivs.delivered["v"] == 2
    dispatch.check_nothing_lost()


def test_batches_are_full_when_enough_entries_are_queued(dispatch: DispatchScenario) -> None:
    dispatch.accept(viewers(500))
    dispatch.run(dispatch.dispatcher(), 5)
    assert {size for _, name, size in dispatch.ivs.calls if name == BATCH} == {BATCH_VIEWERS}
