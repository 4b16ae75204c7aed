"""Contract of `RevocationStore`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.storage.query_counts import counted
from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, THERE, channel, make_due, revocation
from tests.support.audit import EVENT
from tokensvc.deployment.versions import Position
from tokensvc.errors import IdempotencyKeyReused, RevocationNotFound
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import INTERACTIVE_MAX, DeliveryOutcome, QueueEntry
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey, NewRevocation, Revocation
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import idempotency_keys, revocation_entries, revocation_targets
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import ViewerRestriction, viewer_digest

pytestmark = pytest.mark.slow

OTHER = channel("b").arn
KEY = IdempotencyKey("once", b"digest of the body")


def accept(
    store: Store, *new: NewRevocation, priority: Priority = Priority.INTERACTIVE, caller: str = "backend"
) -> list[AcceptedRevocation]:
    return store.revocations.accept(caller, new, priority, MAX_STALENESS_SECONDS, events=[EVENT])


def claim(store: Store, priority: Priority = Priority.INTERACTIVE, limit: int = 100) -> list[QueueEntry]:
    return store.revocation_queue.claim(HERE, priority, limit, 60)


def record_all(store: Store, state: RevocationState, code: str = "") -> None:
    """Record the same outcome for all queued entries."""
    make_due(store)
    for priority in Priority:
        store.revocation_queue.record_outcomes(
            [DeliveryOutcome(e.id, e.version, state, code) for e in claim(store, priority)]
        )


def get(store: Store, revocation_id: str) -> Revocation:
    return store.revocations.get(revocation_id, EVERYONE)


def restriction_of(store: Store, viewer: str = "v") -> ViewerRestriction:
    return {row.digest: row.restriction for row in store.denials.changed_since(Position(), 1000).rows}[
        viewer_digest(CHANNEL, viewer)
    ]


def test_a_revocation_is_written_in_one_transaction(store: Store) -> None:
    """Queue entry, minimum version and denial: all of them or none."""
    before = time.time()
    [accepted] = accept(store, revocation("r", "v", reason="abuse"))
    after = time.time()
    assert before - 1 + MAX_STALENESS_SECONDS <= accepted.version <= after + MAX_STALENESS_SECONDS
    assert accepted.readmit_after == restriction_of(store).denied_until == accepted.version + 1
    assert restriction_of(store).minimum_version == accepted.version + 1
    found = get(store, "r")
    assert (found.caller, found.reason, found.state) == ("backend", "abuse", RevocationState.QUEUED)
    assert found.readmit_after.timestamp() == accepted.readmit_after
    assert before - 1 <= found.accepted_at.timestamp() <= after + 1
    [target] = found.targets
    assert target == (CHANNEL, "v", accepted.version, RevocationState.QUEUED, 0, None, "", "")
    assert [(e.channel_arn, e.viewer_id, e.version, e.attempts) for e in claim(store)] == [
        (CHANNEL, "v", accepted.version, 1)
    ]


def test_a_batch_returns_one_result_each_in_order(store: Store) -> None:
    accepted = accept(store, *(revocation(f"r{number}") for number in range(5)), priority=Priority.BULK)
    assert [a.id for a in accepted] == [f"r{number}" for number in range(5)]
    assert [found.number for found in store.revocations.list(EVERYONE, limit=9)] == [9, 7, 5, 3, 1]
    assert [e.viewer_id for e in claim(store, Priority.BULK)] == [f"r{number}" for number in range(5)]


def test_a_revocation_can_have_several_viewers_and_channels(store: Store) -> None:
    elsewhere = channel("a").arn.replace(HERE.region, THERE.region)
    accept(store, revocation("r", "v", "w", "v", where=(CHANNEL, elsewhere)))
    assert sorted((t.channel_arn, t.viewer_id) for t in get(store, "r").targets) == sorted(
        (where, viewer) for where in (CHANNEL, elsewhere) for viewer in "vw"
    )
    assert len(claim(store)) == len(store.revocation_queue.claim(THERE, Priority.INTERACTIVE, 9, 60)) == 2


def test_issued_before_spares_newer_tokens_and_denies_nobody(store: Store) -> None:
    before = int(time.time()) - 3600
    [accepted] = accept(store, revocation("r", "v", issued_before=before))
    assert accepted.version == before - 1
    assert restriction_of(store) == (0, before, 0)
    assert accepted.readmit_after <= time.time() + 2


def test_a_denial_lasts_as_requested_and_a_longer_one_stays(store: Store) -> None:
    [day] = accept(store, revocation("r1", "v", deny_seconds=86_400, reason="a day"))
    until = restriction_of(store).denied_until
    assert until == day.readmit_after
    assert until - time.time() == pytest.approx(86_400, abs=3)
    [short] = accept(store, revocation("r2", "v"))
    assert restriction_of(store).denied_until == short.readmit_after == until
    assert store.denials.in_force(EVERYONE, limit=9)[0].reason == "a day"
    [none] = accept(store, revocation("r3", "w", deny_seconds=0))
    assert restriction_of(store, "w")[:2] == (0, none.version + 1)


def test_two_revocations_of_a_viewer_share_a_queued_entry_and_keep_their_ids(store: Store) -> None:
    [first] = accept(store, revocation("r1", "v"), caller="one")
    [second] = accept(store, revocation("r2", "v"), caller="two")
    assert second.version > first.version
    [entry] = claim(store)
    assert entry.version == second.version
    for name, caller in (("r1", "one"), ("r2", "two")):
        assert get(store, name).caller == caller
        assert [t.version for t in get(store, name).targets] == [second.version]
    record_all(store, RevocationState.SENT)
    assert get(store, "r1").state is get(store, "r2").state is RevocationState.SENT


def test_two_revocations_of_a_viewer_in_one_request_share_an_entry(store: Store) -> None:
    first, second = accept(store, revocation("r1", "v"), revocation("r2", "v"), priority=Priority.BULK)
    assert [e.version for e in claim(store, Priority.BULK)] == [second.version]
    assert first.version < second.version
    assert restriction_of(store).minimum_version == second.version + 1


def test_a_sent_entry_is_not_shared(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    record_all(store, RevocationState.SENT)
    [second] = accept(store, revocation("r2", "v"))
    assert [e.version for e in claim(store)] == [second.version]
    assert get(store, "r1").state is RevocationState.SENT
    assert get(store, "r2").state is RevocationState.QUEUED


def test_an_interactive_revocation_raises_the_priority_of_a_bulk_entry(store: Store) -> None:
    accept(store, *(revocation(f"r{n}", f"v{n}") for n in range(3)), priority=Priority.BULK)
    accept(store, revocation("mine", "v2"))
    assert [e.viewer_id for e in claim(store)] == ["v2"]
    assert [e.viewer_id for e in claim(store, Priority.BULK)] == ["v0", "v1"]
    make_due(store)
    accept(store, revocation("s1", "v2"), revocation("s2", "v0"), priority=Priority.BULK)
    assert [e.viewer_id for e in claim(store)] == ["v2"], "a bulk revocation does not lower a priority"


def test_a_caller_that_floods_the_queue_delays_only_itself(store: Store) -> None:
    everyone = [f"v{number}" for number in range(INTERACTIVE_MAX)]
    accept(store, revocation("flood", *everyone))
    accept(store, revocation("one more"))
    accept(store, revocation("another's"), caller="another")
    assert [e.viewer_id for e in claim(store, limit=1000)] == [*everyone, "another's"]
    assert [e.viewer_id for e in claim(store, Priority.BULK)] == ["one more"]


@pytest.mark.parametrize("count", [1, 1000])
def test_accepting_many_takes_few_statements(store: Store, count: int) -> None:
    """There is no query for each revocation, so a thousand take well under a second."""
    new = [revocation(f"r{number}") for number in range(count)]
    with counted(store.engine) as statements:
        store.revocations.accept("backend", new, Priority.BULK, MAX_STALENESS_SECONDS, KEY, events=[EVENT])
    assert len(statements) <= 22
    with counted(store.engine) as statements:
        store.revocations.accept(
            "backend",
            [w._replace(id=f"again {w.id}") for w in new],
            Priority.BULK,
            MAX_STALENESS_SECONDS,
            events=[EVENT],
        )
    assert len(statements) <= 24
    assert store.revocation_queue.backlogs()[HERE].queued == count


def test_a_repeated_request_returns_the_first_result_and_changes_nothing(store: Store) -> None:
    first = store.revocations.accept(
        "backend", [revocation("r1", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY, events=[EVENT]
    )
    before = store.versions.read().denials.number
    again = store.revocations.accept(
        "backend", [revocation("r2", "v")], Priority.INTERACTIVE, 2 * MAX_STALENESS_SECONDS, KEY, events=[EVENT]
    )
    assert again == first
    assert store.versions.read().denials.number == before
    with pytest.raises(RevocationNotFound):
        get(store, "r2")


def test_the_same_key_for_another_body_is_refused(store: Store) -> None:
    store.revocations.accept(
        "backend", [revocation("r1", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY, events=[EVENT]
    )
    with pytest.raises(IdempotencyKeyReused) as refused:
        store.revocations.accept(
            "backend",
            [revocation("r2", "w")],
            Priority.INTERACTIVE,
            MAX_STALENESS_SECONDS,
            KEY._replace(body_digest=b"x"),
            events=[EVENT],
        )
    assert [error.field for error in refused.value.errors] == ["Idempotency-Key"]
    assert len(claim(store)) == 1


def test_idempotency_keys_of_two_callers_are_independent(store: Store) -> None:
    for caller in ("one", "two"):
        store.revocations.accept(
            caller, [revocation(f"of {caller}", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY, events=[EVENT]
        )
    assert len(store.revocations.list(EVERYONE, limit=9)) == 2


def age_keys(store: Store, hours: float) -> None:
    with write_transaction(store.engine) as connection:
        c = idempotency_keys.c
        connection.execute(sa.update(idempotency_keys).values(used_at=c.used_at - hours * 3600))


def test_an_idempotency_key_can_be_reused_after_a_day(store: Store) -> None:
    store.revocations.accept(
        "backend", [revocation("r1", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY, events=[EVENT]
    )
    age_keys(store, 23.9)
    assert (
        store.revocations.accept(
            "backend", [revocation("r2", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY, events=[EVENT]
        )[0].id
        == "r1"
    )
    age_keys(store, 0.2)
    other = KEY._replace(body_digest=b"another")
    assert (
        store.revocations.accept(
            "backend", [revocation("r3", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, other, events=[EVENT]
        )[0].id
        == "r3"
    )
    assert (
        store.revocations.accept(
            "backend", [revocation("r4", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, other, events=[EVENT]
        )[0].id
        == "r3"
    )


def test_the_stored_result_is_of_the_whole_batch(store: Store) -> None:
    new = [revocation("r1"), revocation("r2")]
    first = store.revocations.accept("backend", new, Priority.BULK, MAX_STALENESS_SECONDS, KEY, events=[EVENT])
    assert store.revocations.accept("backend", new, Priority.BULK, MAX_STALENESS_SECONDS, KEY, events=[EVENT]) == first
    assert len(first) == 2


def test_revocations_of_other_tenants_are_not_visible(store: Store) -> None:
    """Nor a revocation with a channel of another tenant, since it would show that tenant's viewers."""
    accept(store, revocation("mine", "v"), revocation("both", "v", where=(CHANNEL, OTHER)))
    accept(store, revocation("theirs", "v", where=(OTHER,)))
    assert [r.id for r in store.revocations.list((CHANNEL,), limit=9)] == ["mine"]
    assert [r.id for r in store.revocations.list((CHANNEL, OTHER), limit=9)] == ["theirs", "both", "mine"]
    assert store.revocations.list((), limit=9) == []
    for name in ("both", "theirs"):
        with pytest.raises(RevocationNotFound):
            store.revocations.get(name, (CHANNEL,))
        for method in (store.revocations.cancel, store.revocations.retry):
            with pytest.raises(RevocationNotFound):
                method(name, (CHANNEL,), event=EVENT)
    assert get(store, "theirs").state is RevocationState.QUEUED


def test_paging_returns_each_revocation_once_newest_first(store: Store) -> None:
    for number in range(7):
        accept(store, revocation(f"r{number}"))
    seen: list[Revocation] = []
    while page := store.revocations.list(EVERYONE, limit=3, before=seen[-1].number if seen else None):
        seen += page
    assert [r.id for r in seen] == [f"r{number}" for number in reversed(range(7))]


def test_a_listing_can_be_limited_to_a_number_of_rows_read(store: Store) -> None:
    for number in range(7):
        accept(store, revocation(f"r{number}"))
    bounded, before, pages = store.revocations, None, list[list[str]]()
    while True:
        lowest = bounded.scan_floor(before, 3)
        found = bounded.list((CHANNEL,), limit=9, before=before, min_number=lowest)
        pages.append([r.id for r in found])
        if lowest is None:
            break
        before = lowest
    assert pages == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]
    assert bounded.scan_floor(None, 7) is None, "there are no more than seven"
    assert bounded.scan_floor(None, 6) is not None


def test_revocations_are_listed_by_the_state_of_any_target(store: Store) -> None:
    accept(store, revocation("r1", "v", "w"))
    first, second = claim(store)
    store.revocation_queue.record_outcomes([DeliveryOutcome(first.id, first.version, RevocationState.SENT)])
    store.revocation_queue.record_outcomes(
        [DeliveryOutcome(second.id, second.version, RevocationState.FAILED, "ResourceNotFoundException")]
    )
    accept(store, revocation("r2"))
    listed = {
        state: [r.id for r in store.revocations.list(EVERYONE, limit=9, state=state)] for state in RevocationState
    }
    assert listed == {"queued": ["r2"], "sent": ["r1"], "failed": ["r1"], "cancelled": []}
    assert get(store, "r1").state is RevocationState.FAILED


def test_revocations_are_listed_by_channel_and_viewer_of_the_same_target(store: Store) -> None:
    accept(store, revocation("r1", "v", "w"), revocation("r2", "v", where=(OTHER,)))
    listed = store.revocations.list

    assert [r.id for r in listed(EVERYONE, limit=9, viewer_ids=["v", "x"])] == ["r2", "r1"]
    assert [r.id for r in listed(EVERYONE, limit=9, channel_arn=CHANNEL)] == ["r1"]
    assert [r.id for r in listed(EVERYONE, limit=9, channel_arn=OTHER, viewer_ids=["w"])] == []
    assert [r.id for r in listed((CHANNEL,), limit=9, viewer_ids=["v"])] == ["r1"]
    [first] = [entry for entry in claim(store) if (entry.channel_arn, entry.viewer_id) == (CHANNEL, "v")]
    store.revocation_queue.record_outcomes([DeliveryOutcome(first.id, first.version, RevocationState.SENT)])
    assert [r.id for r in listed(EVERYONE, limit=9, state=RevocationState.SENT, viewer_ids=["v"])] == ["r1"]
    assert listed(EVERYONE, limit=9, state=RevocationState.SENT, viewer_ids=["w"]) == []


def test_a_queued_revocation_can_be_cancelled(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    assert store.revocations.cancel("r1", EVERYONE, event=EVENT).state is RevocationState.CANCELLED
    assert claim(store) == []
    assert get(store, "r1").targets[0].finished_at is not None
    assert restriction_of(store).minimum_version > time.time(), "tokens may already carry that version"
    [again] = accept(store, revocation("r2", "v"))
    assert [e.version for e in claim(store)] == [again.version]


def test_issued_before_is_not_raised_by_an_earlier_revocation_of_everything(store: Store) -> None:
    """The earlier revocation was sent with its own filter, and tokens were issued since."""
    [unlimited] = accept(store, revocation("r1", "v", deny_seconds=0))
    record_all(store, RevocationState.SENT)
    before = int(time.time()) - 3600
    [limited] = accept(store, revocation("r2", "v", issued_before=before))
    assert limited.version == before - 1
    assert [e.version for e in claim(store)] == [before - 1]
    assert restriction_of(store).minimum_version == unlimited.version + 1, "the minimum version never decreases"


def test_cancelling_one_of_two_revocations_lowers_the_shared_entry(store: Store) -> None:
    [unlimited] = accept(store, revocation("r1", "v", deny_seconds=0))
    [limited] = accept(store, revocation("r2", "v", issued_before=int(time.time()) - 3600))
    [entry] = claim(store)
    assert entry.version == unlimited.version > limited.version
    store.revocations.cancel("r1", EVERYONE, event=EVENT)
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, RevocationState.FAILED)])
    [lowered] = claim(store)
    assert lowered.version == limited.version, "the outcome of a call for the higher version does not apply"
    record_all(store, RevocationState.SENT)
    assert get(store, "r2").targets[0].version == limited.version


def test_cancelling_does_not_affect_another_revocation_of_the_entry(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    accept(store, revocation("r2", "v"))
    assert store.revocations.cancel("r1", EVERYONE, event=EVENT).state is RevocationState.CANCELLED
    assert get(store, "r2").state is RevocationState.QUEUED
    assert len(claim(store)) == 1
    record_all(store, RevocationState.SENT)
    assert (get(store, "r1").state, get(store, "r2").state) == (RevocationState.CANCELLED, RevocationState.SENT)


def test_a_finished_target_cannot_be_cancelled(store: Store) -> None:
    accept(store, revocation("r1", "v", "w"))
    [first, _] = claim(store)
    store.revocation_queue.record_outcomes([DeliveryOutcome(first.id, first.version, RevocationState.SENT)])
    found = store.revocations.cancel("r1", EVERYONE, event=EVENT)
    assert sorted(t.state for t in found.targets) == [RevocationState.CANCELLED, RevocationState.SENT]
    assert found.state is RevocationState.SENT
    assert store.revocations.cancel("r1", EVERYONE, event=EVENT) == found


def test_a_failed_revocation_is_retried(store: Store) -> None:
    [accepted] = accept(store, revocation("r1", "v"))
    record_all(store, RevocationState.FAILED, "AccessDeniedException")
    assert get(store, "r1").targets[0].code == "AccessDeniedException"
    retried = store.revocations.retry("r1", EVERYONE, event=EVENT)
    assert (retried.state, retried.targets[0].attempts, retried.targets[0].finished_at) == (
        RevocationState.QUEUED,
        0,
        None,
    )
    assert [e.version for e in claim(store)] == [accepted.version]
    record_all(store, RevocationState.SENT)
    assert store.revocations.retry("r1", EVERYONE, event=EVENT).state is RevocationState.SENT


def test_a_retried_entry_joins_a_queued_one(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    record_all(store, RevocationState.FAILED)
    [second] = accept(store, revocation("r2", "v"))
    assert store.revocations.retry("r1", EVERYONE, event=EVENT).state is RevocationState.QUEUED
    assert [e.version for e in claim(store)] == [second.version]
    record_all(store, RevocationState.SENT)
    assert get(store, "r1").state is get(store, "r2").state is RevocationState.SENT


def test_retrying_two_failed_entries_sends_the_higher_version(store: Store) -> None:
    for name in ("r1", "r2"):
        accept(store, revocation(name, "v"))
        record_all(store, RevocationState.FAILED)
    higher = get(store, "r2").targets[0].version
    store.revocations.retry("r1", EVERYONE, event=EVENT)
    [lower] = claim(store)
    assert lower.version < higher
    store.revocations.retry("r2", EVERYONE, event=EVENT)
    store.revocation_queue.record_outcomes([DeliveryOutcome(lower.id, lower.version, RevocationState.SENT)])
    assert get(store, "r2").state is get(store, "r1").state is RevocationState.QUEUED, (
        "the call in progress sent the lower version"
    )
    assert [e.version for e in claim(store)] == [higher]
    record_all(store, RevocationState.SENT)
    assert [t.version for name in ("r1", "r2") for t in get(store, name).targets] == [higher, higher]


def test_a_retried_entry_is_queued_since_the_retry(store: Store) -> None:
    accept(store, revocation("r"))
    record_all(store, RevocationState.FAILED)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(revocation_entries).values(queued_at=revocation_entries.c.queued_at - 86_400))
    store.revocations.retry("r", EVERYONE, event=EVENT)
    assert store.revocation_queue.backlogs()[HERE].oldest_age_seconds < 60


def count(store: Store, table: sa.Table) -> int:
    with read_transaction(store.engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_pruning_deletes_old_finished_entries_only(store: Store) -> None:
    accept(
        store,
        *(revocation(f"r{n}", f"v{n}") for n in range(3)),
        revocation("shared", "v0"),
        revocation("part", "v0", "q"),
    )
    make_due(store)
    finished = [e for e in claim(store) if e.viewer_id != "q"]
    store.revocation_queue.record_outcomes([DeliveryOutcome(e.id, e.version, RevocationState.SENT) for e in finished])
    now = datetime.now(UTC)
    assert store.revocations.prune(now - timedelta(hours=1), 100) == 0
    assert [store.revocations.prune(now + timedelta(hours=1), 2) for _ in range(3)] == [2, 1, 0]
    assert [r.id for r in store.revocations.list(EVERYONE, limit=9)] == ["part"]
    assert [t.viewer_id for t in get(store, "part").targets] == ["q"]
    assert count(store, revocation_entries) == count(store, revocation_targets) == 1
    assert store.revocations.prune(now + timedelta(days=9999), 100) == 0


def test_idempotency_keys_are_pruned_after_a_day(store: Store) -> None:
    store.revocations.accept(
        "backend", [revocation("r1")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY, events=[EVENT]
    )
    store.revocations.prune(datetime.now(UTC), 100)
    assert count(store, idempotency_keys) == 1
    age_keys(store, 24.1)
    store.revocations.prune(datetime.now(UTC), 100)
    assert count(store, idempotency_keys) == 0


def test_no_viewer_shows_in_a_repr(store: Store) -> None:
    new = revocation("r1", "the viewer")
    accept(store, new)
    assert "the viewer" not in repr((new, get(store, "r1"), claim(store)))
