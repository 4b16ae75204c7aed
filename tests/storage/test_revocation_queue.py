"""Contract of `RevocationQueue`."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, THERE, make_due, revocation
from tests.support.audit import EVENT
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome, QueueEntry
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

ELSEWHERE = CHANNEL.replace(HERE.region, THERE.region)


def enqueue(store: Store, *viewers: str, priority: Priority = Priority.INTERACTIVE, where: str = CHANNEL) -> None:
    wanted = [revocation(f"of {viewer} {time.perf_counter_ns()}", viewer, where=(where,)) for viewer in viewers]
    store.revocations.accept("backend", wanted, priority, MAX_STALENESS_SECONDS, events=[EVENT])


def claim(
    store: Store, limit: int = 100, seconds: float = 60, priority: Priority = Priority.INTERACTIVE
) -> list[QueueEntry]:
    return store.revocation_queue.claim(HERE, priority, limit, seconds)


def record(store: Store, entry: QueueEntry, state: RevocationState, **fields: Any) -> None:
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, state, **fields)])


def row(store: Store, entry: QueueEntry) -> Any:
    with read_transaction(store.engine) as connection:
        return connection.execute(sa.select(revocation_entries).where(revocation_entries.c.id == entry.id)).one()


def test_the_oldest_entries_are_claimed_first(store: Store) -> None:
    for viewer in "cab":
        enqueue(store, viewer)
    assert [e.viewer_id for e in claim(store, 2)] == ["c", "a"]
    assert [e.viewer_id for e in claim(store, 2)] == ["b"]
    assert claim(store) == []


def test_regions_and_priorities_are_independent(store: Store) -> None:
    enqueue(store, "here")
    enqueue(store, "there", where=ELSEWHERE)
    enqueue(store, "storm", priority=Priority.BULK)
    assert [e.viewer_id for e in claim(store)] == ["here"]
    assert [e.viewer_id for e in claim(store, priority=Priority.BULK)] == ["storm"]
    assert [e.viewer_id for e in store.revocation_queue.claim(THERE, Priority.INTERACTIVE, 9, 60)] == ["there"]


def test_an_expired_claim_returns_and_counts_as_an_attempt(store: Store) -> None:
    """Its dispatcher has crashed, or is too slow."""
    enqueue(store, "v")
    assert [e.attempts for e in claim(store, seconds=0)] == [1]
    assert [e.attempts for e in claim(store, seconds=60)] == [2]
    assert claim(store) == []
    make_due(store)
    assert [e.attempts for e in claim(store)] == [3]


@pytest.mark.parametrize("seconds", [0.5, 60.0])
def test_a_claim_uses_the_clock_of_the_store(store: Store, seconds: float) -> None:
    enqueue(store, "v")
    before = store.versions.read().now
    [entry] = claim(store, seconds=seconds)
    assert before + seconds - 0.01 <= row(store, entry).due_at <= store.versions.read().now + seconds + 0.01


@pytest.mark.parametrize("state", [RevocationState.SENT, RevocationState.FAILED])
def test_a_final_outcome_is_permanent(store: Store, state: RevocationState) -> None:
    enqueue(store, "v")
    [entry] = claim(store)
    before = store.versions.read().now
    record(store, entry, state, code="C", message="words")
    make_due(store)
    assert claim(store) == []
    stored = row(store, entry)
    assert (stored.state, stored.code, stored.message, stored.attempts) == (state, "C", "words", 1)
    assert before - 0.01 <= stored.finished_at <= store.versions.read().now + 0.01
    record(store, entry, RevocationState.QUEUED)
    assert row(store, entry) == stored


def test_a_deferred_entry_waits_and_may_change_its_priority(store: Store) -> None:
    enqueue(store, "v", "w", priority=Priority.BULK)
    first, second = claim(store, priority=Priority.BULK)
    record(store, first, RevocationState.QUEUED, code="ThrottlingException", retry_in_seconds=60)
    record(store, second, RevocationState.QUEUED, priority=Priority.INTERACTIVE)
    assert [e.viewer_id for e in claim(store)] == ["w"]
    assert claim(store, priority=Priority.BULK) == []
    stored = row(store, first)
    assert stored.due_at == pytest.approx(store.versions.read().now + 60, abs=10)
    assert (stored.state, stored.code, stored.finished_at) == ("queued", "ThrottlingException", None)
    make_due(store)
    assert [e.viewer_id for e in claim(store, priority=Priority.BULK)] == ["v"]


@pytest.mark.parametrize("state", [RevocationState.SENT, RevocationState.FAILED, RevocationState.QUEUED])
def test_an_entry_raised_during_the_call_is_queued_again(store: Store, state: RevocationState) -> None:
    enqueue(store, "v")
    [entry] = claim(store)
    enqueue(store, "v")
    assert claim(store) == [], "the call is in progress"
    record(store, entry, state, retry_in_seconds=60)
    [again] = claim(store)
    assert again.id == entry.id
    assert again.version > entry.version
    record(store, again, RevocationState.SENT)
    assert row(store, again).state == "sent"


def test_a_late_dispatcher_records_what_it_sent(store: Store) -> None:
    """Its claim expired and another dispatcher has the entry, but the call was made."""
    enqueue(store, "v")
    [entry] = claim(store, seconds=0)
    [other] = claim(store)
    record(store, entry, RevocationState.SENT)
    assert row(store, entry).state == "sent"
    record(store, other, RevocationState.QUEUED)
    assert row(store, entry).state == "sent"


def test_an_entry_cancelled_during_the_call_stays_cancelled(store: Store) -> None:
    store.revocations.accept(
        "backend", [revocation("r", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, events=[EVENT]
    )
    [entry] = claim(store)
    store.revocations.cancel("r", EVERYONE, event=EVENT)
    record(store, entry, RevocationState.SENT)
    assert row(store, entry).state == "cancelled"


def test_recording_no_or_unknown_outcomes_does_nothing(store: Store) -> None:
    store.revocation_queue.record_outcomes([])
    store.revocation_queue.record_outcomes([DeliveryOutcome(99, 1, RevocationState.SENT)])
    assert store.revocation_queue.backlogs() == {}


def test_backlogs_have_the_count_and_the_age_of_the_oldest_entry(store: Store) -> None:
    assert store.revocation_queue.backlogs() == {}
    enqueue(store, "a", "b", priority=Priority.BULK)
    enqueue(store, "c", where=ELSEWHERE)
    enqueue(store, "d")
    entry = claim(store)[0]
    record(store, entry, RevocationState.SENT)
    claim(store, priority=Priority.BULK)
    backlogs = store.revocation_queue.backlogs()
    assert {account_region: found.queued for account_region, found in backlogs.items()} == {HERE: 2, THERE: 1}
    assert all(0 <= found.oldest_age_seconds < 5 for found in backlogs.values())
    assert {found.code for found in backlogs.values()} == {""}


def test_a_backlog_has_the_error_code_of_ivs(store: Store) -> None:
    enqueue(store, "a", "b")
    record(store, claim(store)[0], RevocationState.QUEUED, code="ReadTimeoutError")
    assert store.revocation_queue.backlogs()[HERE].code == "ReadTimeoutError"
    make_due(store)
    for entry in claim(store):
        record(store, entry, RevocationState.FAILED, code="AccessDeniedException")
    assert store.revocation_queue.backlogs() == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue"), st.sampled_from("abc")),
        st.tuples(st.just("claim"), st.integers(1, 3)),
        st.tuples(
            st.just("record"), st.sampled_from([RevocationState.SENT, RevocationState.FAILED, RevocationState.QUEUED])
        ),
        st.tuples(st.just("expire"), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_accepted_revocation_is_lost(store: Store, steps: list[tuple[str, Any]]) -> None:
    """Compared with a model: the highest version of each viewer is sent, failed or queued."""
    requested, sent, failed = dict[str, int](), dict[str, int](), dict[str, int]()
    claimed: list[QueueEntry] = []
    for step, value in steps:
        if step == "enqueue":
            [accepted] = store.revocations.accept(
                "backend",
                [revocation(f"{time.perf_counter_ns()}", value)],
                Priority.INTERACTIVE,
                MAX_STALENESS_SECONDS,
                events=[EVENT],
            )
            requested[value] = accepted.version
        elif step == "claim":
            claimed += claim(store, value)
        elif step == "record" and claimed:
            entry = claimed.pop()
            if value is not RevocationState.QUEUED:
                (sent if value is RevocationState.SENT else failed)[entry.viewer_id] = entry.version
            record(store, entry, value)
        else:
            make_due(store)
    make_due(store)
    backlogs = {e.viewer_id: e.version for e in claim(store)}
    for viewer, version in requested.items():
        assert version in (sent.get(viewer), failed.get(viewer), backlogs.get(viewer))
    for entry in claim(store):
        record(store, entry, RevocationState.SENT)
    make_due(store)
    store.revocation_queue.record_outcomes(
        [DeliveryOutcome(e.id, e.version, RevocationState.SENT) for e in claim(store)]
    )


def test_an_outcome_from_before_a_restore_does_not_apply_to_a_new_entry_with_the_same_id(
    store: Store,
) -> None:
    """A dispatcher records what it sent before the restore; the new entry may even have the same version."""
    enqueue(store, "new")
    [entry] = claim(store)
    for lost in (entry._replace(viewer_id="lost"), entry._replace(channel_arn=ELSEWHERE)):
        store.revocation_queue.record_outcomes([DeliveryOutcome.of(lost, RevocationState.SENT)])
        assert row(store, entry).state == "queued"
    store.revocation_queue.record_outcomes([DeliveryOutcome.of(entry, RevocationState.SENT)])
    assert row(store, entry).state == "sent"
