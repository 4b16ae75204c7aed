"""Contract of `RevocationQueue`."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, THERE, make_due, revocation
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome, QueueEntry
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.storage.store import Store

ELSEWHERE = CHANNEL.replace(HERE.region, THERE.region)


def queue(store: Store, *viewers: str, priority: Priority = Priority.INTERACTIVE, where: str = CHANNEL) -> None:
    wanted = [revocation(f"of {viewer} {time.perf_counter_ns()}", viewer, where=(where,)) for viewer in viewers]
    store.revocations.accept("backend", wanted, priority, MAX_STALENESS_SECONDS)


def claim(
    store: Store, limit: int = 100, seconds: float = 60, priority: Priority = Priority.INTERACTIVE
) -> list[QueueEntry]:
    return store.revocation_queue.claim(HERE, priority, limit, seconds)


def settle(store: Store, entry: QueueEntry, state: RevocationState, **fields: Any) -> None:
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, state, **fields)])


def row(store: Store, entry: QueueEntry) -> Any:
    with read_transaction(store.engine) as connection:
        return connection.execute(sa.select(revocation_entries).where(revocation_entries.c.id == entry.id)).one()


def test_the_oldest_are_claimed_first(store: Store) -> None:
    for viewer in "cab":
        queue(store, viewer)
    assert [e.viewer_id for e in claim(store, 2)] == ["c", "a"]
    assert [e.viewer_id for e in claim(store, 2)] == ["b"]
    assert claim(store) == []


def test_places_and_lanes_are_apart(store: Store) -> None:
    queue(store, "here")
    queue(store, "there", where=ELSEWHERE)
    queue(store, "storm", priority=Priority.BULK)
    assert [e.viewer_id for e in claim(store)] == ["here"]
    assert [e.viewer_id for e in claim(store, priority=Priority.BULK)] == ["storm"]
    assert [e.viewer_id for e in store.revocation_queue.claim(THERE, Priority.INTERACTIVE, 9, 60)] == ["there"]


def test_a_claim_that_lapses_returns_and_counts_the_attempt(store: Store) -> None:
    """Whoever had it is dead, or so slow that it may as well be."""
    queue(store, "v")
    assert [e.attempts for e in claim(store, seconds=0)] == [1]
    assert [e.attempts for e in claim(store, seconds=60)] == [2]
    assert claim(store) == []
    make_due(store)
    assert [e.attempts for e in claim(store)] == [3]


@pytest.mark.parametrize("seconds", [0.5, 60.0])
def test_a_claim_runs_on_the_stores_clock(store: Store, seconds: float) -> None:
    queue(store, "v")
    before = store.versions.read().now
    [entry] = claim(store, seconds=seconds)
    assert before + seconds - 0.01 <= row(store, entry).due_at <= store.versions.read().now + seconds + 0.01


@pytest.mark.parametrize("state", [RevocationState.SENT, RevocationState.FAILED])
def test_what_ended_is_settled_for_good(store: Store, state: RevocationState) -> None:
    queue(store, "v")
    [entry] = claim(store)
    before = store.versions.read().now
    settle(store, entry, state, code="C", message="words")
    make_due(store)
    assert claim(store) == []
    kept = row(store, entry)
    assert (kept.state, kept.code, kept.message, kept.attempts) == (state, "C", "words", 1)
    assert before - 0.01 <= kept.finished_at <= store.versions.read().now + 0.01
    settle(store, entry, RevocationState.QUEUED)
    assert row(store, entry) == kept


def test_what_is_put_off_rests_and_may_change_its_lane(store: Store) -> None:
    queue(store, "v", "w", priority=Priority.BULK)
    first, second = claim(store, priority=Priority.BULK)
    settle(store, first, RevocationState.QUEUED, code="ThrottlingException", retry_in_seconds=60)
    settle(store, second, RevocationState.QUEUED, priority=Priority.INTERACTIVE)
    assert [e.viewer_id for e in claim(store)] == ["w"]
    assert claim(store, priority=Priority.BULK) == []
    kept = row(store, first)
    assert kept.due_at == pytest.approx(store.versions.read().now + 60, abs=1)
    assert (kept.state, kept.code, kept.finished_at) == ("queued", "ThrottlingException", None)
    make_due(store)
    assert [e.viewer_id for e in claim(store, priority=Priority.BULK)] == ["v"]


@pytest.mark.parametrize("state", [RevocationState.SENT, RevocationState.FAILED, RevocationState.QUEUED])
def test_one_that_was_raised_while_the_call_was_under_way_goes_back(store: Store, state: RevocationState) -> None:
    queue(store, "v")
    [entry] = claim(store)
    queue(store, "v")
    assert claim(store) == [], "the call is under way"
    settle(store, entry, state, retry_in_seconds=60)
    [again] = claim(store)
    assert again.id == entry.id
    assert again.version > entry.version
    settle(store, again, RevocationState.SENT)
    assert row(store, again).state == "sent"


def test_a_late_dispatcher_settles_what_it_told(store: Store) -> None:
    """Its claim lapsed and another has it now; what it told is told."""
    queue(store, "v")
    [entry] = claim(store, seconds=0)
    [other] = claim(store)
    settle(store, entry, RevocationState.SENT)
    assert row(store, entry).state == "sent"
    settle(store, other, RevocationState.QUEUED)
    assert row(store, entry).state == "sent"


def test_what_was_given_up_meanwhile_stays_given_up(store: Store) -> None:
    store.revocations.accept("backend", [revocation("r", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS)
    [entry] = claim(store)
    store.revocations.cancel("r", EVERYONE)
    settle(store, entry, RevocationState.SENT)
    assert row(store, entry).state == "cancelled"


def test_settling_nothing_asks_the_store_nothing(store: Store) -> None:
    store.revocation_queue.record_outcomes([])
    store.revocation_queue.record_outcomes([DeliveryOutcome(99, 1, RevocationState.SENT)])
    assert store.revocation_queue.backlogs() == {}


def test_what_waits_is_counted_by_place_with_the_age_of_the_oldest(store: Store) -> None:
    assert store.revocation_queue.backlogs() == {}
    queue(store, "a", "b", priority=Priority.BULK)
    queue(store, "c", where=ELSEWHERE)
    queue(store, "d")
    entry = claim(store)[0]
    settle(store, entry, RevocationState.SENT)
    claim(store, priority=Priority.BULK)
    waiting = store.revocation_queue.backlogs()
    assert {place: found.queued for place, found in waiting.items()} == {HERE: 2, THERE: 1}
    assert all(0 <= found.oldest_seconds < 5 for found in waiting.values())
    assert {found.code for found in waiting.values()} == {""}


def test_what_waits_after_a_failure_says_what_ivs_answered(store: Store) -> None:
    queue(store, "a", "b")
    settle(store, claim(store)[0], RevocationState.QUEUED, code="ReadTimeoutError")
    assert store.revocation_queue.backlogs()[HERE].code == "ReadTimeoutError"
    make_due(store)
    for entry in claim(store):
        settle(store, entry, RevocationState.FAILED, code="AccessDeniedException")
    assert store.revocation_queue.backlogs() == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), st.sampled_from("abc")),
        st.tuples(st.just("claim"), st.integers(1, 3)),
        st.tuples(
            st.just("settle"), st.sampled_from([RevocationState.SENT, RevocationState.FAILED, RevocationState.QUEUED])
        ),
        st.tuples(st.just("lapse"), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_nothing_accepted_is_lost(store: Store, steps: list[tuple[str, Any]]) -> None:
    """Compared with a model: of each viewer the highest version is either told, refused, or waits."""
    asked, told, refused = dict[str, int](), dict[str, int](), dict[str, int]()
    claimed: list[QueueEntry] = []
    for step, value in steps:
        if step == "queue":
            [accepted] = store.revocations.accept(
                "backend", [revocation(f"{time.perf_counter_ns()}", value)], Priority.INTERACTIVE, MAX_STALENESS_SECONDS
            )
            asked[value] = accepted.version
        elif step == "claim":
            claimed += claim(store, value)
        elif step == "settle" and claimed:
            entry = claimed.pop()
            if value is not RevocationState.QUEUED:
                (told if value is RevocationState.SENT else refused)[entry.viewer_id] = entry.version
            settle(store, entry, value)
        else:
            make_due(store)
    make_due(store)
    waiting = {e.viewer_id: e.version for e in claim(store)}
    for viewer, version in asked.items():
        assert version in (told.get(viewer), refused.get(viewer), waiting.get(viewer))
    for entry in claim(store):
        settle(store, entry, RevocationState.SENT)
    make_due(store)
    store.revocation_queue.record_outcomes(
        [DeliveryOutcome(e.id, e.version, RevocationState.SENT) for e in claim(store)]
    )


def test_an_entry_that_a_restored_store_gave_the_same_id_is_not_settled_by_what_became_of_the_lost_one(
    store: Store,
) -> None:
    """A dispatcher settles what it sent to IVS before the restore, and the new entry may have the same version too."""
    queue(store, "new")
    [entry] = claim(store)
    for lost in (entry._replace(viewer_id="lost"), entry._replace(channel_arn=ELSEWHERE)):
        store.revocation_queue.record_outcomes([DeliveryOutcome.of(lost, RevocationState.SENT)])
        assert row(store, entry).state == "queued"
    store.revocation_queue.record_outcomes([DeliveryOutcome.of(entry, RevocationState.SENT)])
    assert row(store, entry).state == "sent"
