"""Contract of `Revocations`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.storage.query_counts import counted
from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, THERE, channel, make_due, revocation
from tokensvc.deployment.versions import Position
from tokensvc.errors import IdempotencyKeyReused, RevocationNotFound
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import INTERACTIVE_MAX, DeliveryOutcome, QueueEntry
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey, NewRevocation, Revocation
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.revocation_tables import idempotency_keys, revocation_entries, revocation_targets
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import ViewerRestriction, viewer_digest

OTHER = channel("b").arn
KEY = IdempotencyKey("once", b"digest of the body")


def accept(
    store: Store, *wanted: NewRevocation, priority: Priority = Priority.INTERACTIVE, caller: str = "backend"
) -> list[AcceptedRevocation]:
    return store.revocations.accept(caller, wanted, priority, MAX_STALENESS_SECONDS)


def claim(store: Store, priority: Priority = Priority.INTERACTIVE, limit: int = 100) -> list[QueueEntry]:
    return store.revocation_queue.claim(HERE, priority, limit, 60)


def settle(store: Store, state: RevocationState, code: str = "") -> None:
    """All that is queued comes to the same end."""
    make_due(store)
    for priority in Priority:
        store.revocation_queue.record_outcomes(
            [DeliveryOutcome(e.id, e.version, state, code) for e in claim(store, priority)]
        )


def get(store: Store, revocation_id: str) -> Revocation:
    return store.revocations.get(revocation_id, EVERYONE)


def standing(store: Store, viewer: str = "v") -> ViewerRestriction:
    return {row.digest: row.restriction for row in store.denials.changed_since(Position(), 1000).rows}[
        viewer_digest(CHANNEL, viewer)
    ]


def test_what_is_accepted_is_all_written_at_once(store: Store) -> None:
    """Queue, minimum version, denial: nothing of them without the others."""
    before = time.time()
    [accepted] = accept(store, revocation("r", "v", reason="abuse"))
    after = time.time()
    assert before - 1 + MAX_STALENESS_SECONDS <= accepted.version <= after + MAX_STALENESS_SECONDS
    assert accepted.readmit_after == standing(store).denied_until == accepted.version + 1
    assert standing(store).minimum_version == accepted.version + 1
    found = get(store, "r")
    assert (found.caller, found.reason, found.state) == ("backend", "abuse", RevocationState.QUEUED)
    assert found.readmit_after.timestamp() == accepted.readmit_after
    assert before - 1 <= found.accepted_at.timestamp() <= after + 1
    [target] = found.targets
    assert target == (CHANNEL, "v", accepted.version, RevocationState.QUEUED, 0, None, "", "")
    assert [(e.channel_arn, e.viewer_id, e.version, e.attempts) for e in claim(store)] == [
        (CHANNEL, "v", accepted.version, 1)
    ]


def test_a_batch_is_one_answer_each_in_order(store: Store) -> None:
    accepted = accept(store, *(revocation(f"r{number}") for number in range(5)), priority=Priority.BULK)
    assert [a.id for a in accepted] == [f"r{number}" for number in range(5)]
    assert [found.number for found in store.revocations.list(EVERYONE, limit=9)] == [9, 7, 5, 3, 1]
    assert [e.viewer_id for e in claim(store, Priority.BULK)] == [f"r{number}" for number in range(5)]


def test_a_revocation_may_be_of_several_viewers_and_channels(store: Store) -> None:
    elsewhere = channel("a").arn.replace(HERE.region, THERE.region)
    accept(store, revocation("r", "v", "w", "v", where=(CHANNEL, elsewhere)))
    assert sorted((t.channel_arn, t.viewer_id) for t in get(store, "r").targets) == sorted(
        (where, viewer) for where in (CHANNEL, elsewhere) for viewer in "vw"
    )
    assert len(claim(store)) == len(store.revocation_queue.claim(THERE, Priority.INTERACTIVE, 9, 60)) == 2


def test_an_instant_spares_what_is_newer_and_denies_nobody(store: Store) -> None:
    before = int(time.time()) - 3600
    [accepted] = accept(store, revocation("r", "v", issued_before=before))
    assert accepted.version == before - 1
    assert standing(store) == (0, before, 0)
    assert accepted.readmit_after <= time.time() + 2


def test_a_denial_lasts_as_long_as_was_asked_for_and_a_longer_one_stays(store: Store) -> None:
    [day] = accept(store, revocation("r1", "v", deny_seconds=86_400, reason="a day"))
    until = standing(store).denied_until
    assert until == day.readmit_after
    assert until - time.time() == pytest.approx(86_400, abs=3)
    [short] = accept(store, revocation("r2", "v"))
    assert standing(store).denied_until == short.readmit_after == until
    assert store.denials.in_force(EVERYONE, limit=9)[0].reason == "a day"
    [none] = accept(store, revocation("r3", "w", deny_seconds=0))
    assert standing(store, "w")[:2] == (0, none.version + 1)


def test_a_queued_entry_absorbs_another_and_each_keeps_its_id(store: Store) -> None:
    [first] = accept(store, revocation("r1", "v"), caller="one")
    [second] = accept(store, revocation("r2", "v"), caller="two")
    assert second.version > first.version
    [entry] = claim(store)
    assert entry.version == second.version
    for name, caller in (("r1", "one"), ("r2", "two")):
        assert get(store, name).caller == caller
        assert [t.version for t in get(store, name).targets] == [second.version]
    settle(store, RevocationState.SENT)
    assert get(store, "r1").state is get(store, "r2").state is RevocationState.SENT


def test_two_of_one_viewer_in_one_request_are_one_entry(store: Store) -> None:
    first, second = accept(store, revocation("r1", "v"), revocation("r2", "v"), priority=Priority.BULK)
    assert [e.version for e in claim(store, Priority.BULK)] == [second.version]
    assert first.version < second.version
    assert standing(store).minimum_version == second.version + 1


def test_what_was_sent_absorbs_nothing(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    settle(store, RevocationState.SENT)
    [second] = accept(store, revocation("r2", "v"))
    assert [e.version for e in claim(store)] == [second.version]
    assert get(store, "r1").state is RevocationState.SENT
    assert get(store, "r2").state is RevocationState.QUEUED


def test_one_that_is_asked_for_alone_takes_its_entry_out_of_the_storm(store: Store) -> None:
    accept(store, *(revocation(f"r{n}", f"v{n}") for n in range(3)), priority=Priority.BULK)
    accept(store, revocation("mine", "v2"))
    assert [e.viewer_id for e in claim(store)] == ["v2"]
    assert [e.viewer_id for e in claim(store, Priority.BULK)] == ["v0", "v1"]
    make_due(store)
    accept(store, revocation("s1", "v2"), revocation("s2", "v0"), priority=Priority.BULK)
    assert [e.viewer_id for e in claim(store)] == ["v2"], "a storm takes nobody along"


def test_who_floods_the_lane_waits_behind_itself(store: Store) -> None:
    everyone = [f"v{number}" for number in range(INTERACTIVE_MAX)]
    accept(store, revocation("flood", *everyone))
    accept(store, revocation("one more"))
    accept(store, revocation("another's"), caller="another")
    assert [e.viewer_id for e in claim(store, limit=1000)] == [*everyone, "another's"]
    assert [e.viewer_id for e in claim(store, Priority.BULK)] == ["one more"]


@pytest.mark.parametrize("count", [1, 1000])
def test_however_many_are_accepted_it_takes_few_statements(store: Store, count: int) -> None:
    """Not a round trip for each: a thousand well under a second."""
    wanted = [revocation(f"r{number}") for number in range(count)]
    with counted(store.engine) as statements:
        store.revocations.accept("backend", wanted, Priority.BULK, MAX_STALENESS_SECONDS, KEY)
    assert len(statements) <= 22
    with counted(store.engine) as statements:
        store.revocations.accept(
            "backend", [w._replace(id=f"again {w.id}") for w in wanted], Priority.BULK, MAX_STALENESS_SECONDS
        )
    assert len(statements) <= 24
    assert store.revocation_queue.backlogs()[HERE].queued == count


def test_a_repeated_request_gets_the_first_answer_and_changes_nothing(store: Store) -> None:
    first = store.revocations.accept(
        "backend", [revocation("r1", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY
    )
    before = store.versions.read().denials.number
    again = store.revocations.accept(
        "backend", [revocation("r2", "v")], Priority.INTERACTIVE, 2 * MAX_STALENESS_SECONDS, KEY
    )
    assert again == first
    assert store.versions.read().denials.number == before
    with pytest.raises(RevocationNotFound):
        get(store, "r2")


def test_the_same_key_for_another_body_is_refused(store: Store) -> None:
    store.revocations.accept("backend", [revocation("r1", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY)
    with pytest.raises(IdempotencyKeyReused) as refused:
        store.revocations.accept(
            "backend",
            [revocation("r2", "w")],
            Priority.INTERACTIVE,
            MAX_STALENESS_SECONDS,
            KEY._replace(body_digest=b"x"),
        )
    assert [error.field for error in refused.value.errors] == ["Idempotency-Key"]
    assert len(claim(store)) == 1


def test_keys_of_two_callers_are_apart(store: Store) -> None:
    for caller in ("one", "two"):
        store.revocations.accept(
            caller, [revocation(f"of {caller}", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY
        )
    assert len(store.revocations.list(EVERYONE, limit=9)) == 2


def age_keys(store: Store, hours: float) -> None:
    with write_transaction(store.engine) as connection:
        c = idempotency_keys.c
        connection.execute(sa.update(idempotency_keys).values(used_at=c.used_at - hours * 3600))


def test_a_key_is_free_again_after_a_day(store: Store) -> None:
    store.revocations.accept("backend", [revocation("r1", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY)
    age_keys(store, 23.9)
    assert (
        store.revocations.accept("backend", [revocation("r2", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY)[
            0
        ].id
        == "r1"
    )
    age_keys(store, 0.2)
    other = KEY._replace(body_digest=b"another")
    assert (
        store.revocations.accept(
            "backend", [revocation("r3", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, other
        )[0].id
        == "r3"
    )
    assert (
        store.revocations.accept(
            "backend", [revocation("r4", "v")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, other
        )[0].id
        == "r3"
    )


def test_the_first_answer_is_of_a_whole_batch(store: Store) -> None:
    wanted = [revocation("r1"), revocation("r2")]
    first = store.revocations.accept("backend", wanted, Priority.BULK, MAX_STALENESS_SECONDS, KEY)
    assert store.revocations.accept("backend", wanted, Priority.BULK, MAX_STALENESS_SECONDS, KEY) == first
    assert len(first) == 2


def test_another_tenants_revocations_are_not_shown(store: Store) -> None:
    """Nor one of which a channel is another's: it would show that one's viewers."""
    accept(store, revocation("mine", "v"), revocation("both", "v", where=(CHANNEL, OTHER)))
    accept(store, revocation("theirs", "v", where=(OTHER,)))
    assert [r.id for r in store.revocations.list((CHANNEL,), limit=9)] == ["mine"]
    assert [r.id for r in store.revocations.list((CHANNEL, OTHER), limit=9)] == ["theirs", "both", "mine"]
    assert store.revocations.list((), limit=9) == []
    for name in ("both", "theirs"):
        for act in (store.revocations.get, store.revocations.cancel, store.revocations.retry):
            with pytest.raises(RevocationNotFound):
                act(name, (CHANNEL,))
    assert get(store, "theirs").state is RevocationState.QUEUED


def test_pages_show_every_revocation_once_newest_first(store: Store) -> None:
    for number in range(7):
        accept(store, revocation(f"r{number}"))
    seen: list[Revocation] = []
    while page := store.revocations.list(EVERYONE, limit=3, before=seen[-1].number if seen else None):
        seen += page
    assert [r.id for r in seen] == [f"r{number}" for number in reversed(range(7))]


def test_a_listing_can_be_bounded_by_how_many_it_reads(store: Store) -> None:
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
    assert bounded.scan_floor(None, 7) is None, "no more than so many"
    assert bounded.scan_floor(None, 6) is not None


def test_revocations_are_listed_by_the_state_of_any_part(store: Store) -> None:
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


def test_revocations_are_listed_by_channel_and_viewer_of_the_same_part(store: Store) -> None:
    accept(store, revocation("r1", "v", "w"), revocation("r2", "v", where=(OTHER,)))
    revoked = store.revocations.list

    assert [r.id for r in revoked(EVERYONE, limit=9, viewer_ids=["v", "x"])] == ["r2", "r1"]
    assert [r.id for r in revoked(EVERYONE, limit=9, channel_arn=CHANNEL)] == ["r1"]
    assert [r.id for r in revoked(EVERYONE, limit=9, channel_arn=OTHER, viewer_ids=["w"])] == []
    assert [r.id for r in revoked((CHANNEL,), limit=9, viewer_ids=["v"])] == ["r1"]
    [first] = [entry for entry in claim(store) if (entry.channel_arn, entry.viewer_id) == (CHANNEL, "v")]
    store.revocation_queue.record_outcomes([DeliveryOutcome(first.id, first.version, RevocationState.SENT)])
    assert [r.id for r in revoked(EVERYONE, limit=9, state=RevocationState.SENT, viewer_ids=["v"])] == ["r1"]
    assert revoked(EVERYONE, limit=9, state=RevocationState.SENT, viewer_ids=["w"]) == []


def test_what_is_queued_can_be_given_up(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    assert store.revocations.cancel("r1", EVERYONE).state is RevocationState.CANCELLED
    assert claim(store) == []
    assert get(store, "r1").targets[0].finished_at is not None
    assert standing(store).minimum_version > time.time(), "which tokens carry it cannot be taken back"
    [again] = accept(store, revocation("r2", "v"))
    assert [e.version for e in claim(store)] == [again.version]


def test_an_instant_is_not_raised_by_a_revocation_of_everything_before_it(store: Store) -> None:
    """That one's filter is its own: it was sent, and tokens were issued since."""
    [everything] = accept(store, revocation("r1", "v", deny_seconds=0))
    settle(store, RevocationState.SENT)
    before = int(time.time()) - 3600
    [instant] = accept(store, revocation("r2", "v", issued_before=before))
    assert instant.version == before - 1
    assert [e.version for e in claim(store)] == [before - 1]
    assert standing(store).minimum_version == everything.version + 1, "it never falls"


def test_a_queued_entry_ends_what_either_of_two_asks_for_and_no_more_when_one_is_given_up(store: Store) -> None:
    [everything] = accept(store, revocation("r1", "v", deny_seconds=0))
    [instant] = accept(store, revocation("r2", "v", issued_before=int(time.time()) - 3600))
    [entry] = claim(store)
    assert entry.version == everything.version > instant.version
    store.revocations.cancel("r1", EVERYONE)
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, RevocationState.FAILED)])
    [lowered] = claim(store)
    assert lowered.version == instant.version, "a call that was under way for both settles neither"
    settle(store, RevocationState.SENT)
    assert get(store, "r2").targets[0].version == instant.version


def test_giving_up_takes_nothing_from_who_waits_for_the_same(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    accept(store, revocation("r2", "v"))
    assert store.revocations.cancel("r1", EVERYONE).state is RevocationState.CANCELLED
    assert get(store, "r2").state is RevocationState.QUEUED
    assert len(claim(store)) == 1
    settle(store, RevocationState.SENT)
    assert (get(store, "r1").state, get(store, "r2").state) == (RevocationState.CANCELLED, RevocationState.SENT)


def test_what_was_sent_or_failed_cannot_be_given_up(store: Store) -> None:
    accept(store, revocation("r1", "v", "w"))
    [first, _] = claim(store)
    store.revocation_queue.record_outcomes([DeliveryOutcome(first.id, first.version, RevocationState.SENT)])
    found = store.revocations.cancel("r1", EVERYONE)
    assert sorted(t.state for t in found.targets) == [RevocationState.CANCELLED, RevocationState.SENT]
    assert found.state is RevocationState.SENT
    assert store.revocations.cancel("r1", EVERYONE) == found


def test_what_failed_is_tried_again(store: Store) -> None:
    [accepted] = accept(store, revocation("r1", "v"))
    settle(store, RevocationState.FAILED, "AccessDeniedException")
    assert get(store, "r1").targets[0].code == "AccessDeniedException"
    tried = store.revocations.retry("r1", EVERYONE)
    assert (tried.state, tried.targets[0].attempts, tried.targets[0].finished_at) == (RevocationState.QUEUED, 0, None)
    assert [e.version for e in claim(store)] == [accepted.version]
    settle(store, RevocationState.SENT)
    assert store.revocations.retry("r1", EVERYONE).state is RevocationState.SENT


def test_what_failed_joins_a_later_one_that_is_queued(store: Store) -> None:
    accept(store, revocation("r1", "v"))
    settle(store, RevocationState.FAILED)
    [second] = accept(store, revocation("r2", "v"))
    assert store.revocations.retry("r1", EVERYONE).state is RevocationState.QUEUED
    assert [e.version for e in claim(store)] == [second.version]
    settle(store, RevocationState.SENT)
    assert get(store, "r1").state is get(store, "r2").state is RevocationState.SENT


def test_whichever_of_two_that_failed_is_tried_again_first_the_higher_version_is_told(store: Store) -> None:
    for name in ("r1", "r2"):
        accept(store, revocation(name, "v"))
        settle(store, RevocationState.FAILED)
    higher = get(store, "r2").targets[0].version
    store.revocations.retry("r1", EVERYONE)
    [lower] = claim(store)
    assert lower.version < higher
    store.revocations.retry("r2", EVERYONE)
    store.revocation_queue.record_outcomes([DeliveryOutcome(lower.id, lower.version, RevocationState.SENT)])
    assert get(store, "r2").state is get(store, "r1").state is RevocationState.QUEUED, (
        "what was under way told the lower one"
    )
    assert [e.version for e in claim(store)] == [higher]
    settle(store, RevocationState.SENT)
    assert [t.version for name in ("r1", "r2") for t in get(store, name).targets] == [higher, higher]


def test_what_is_tried_again_waits_since_then_and_not_since_it_was_asked_for(store: Store) -> None:
    accept(store, revocation("r"))
    settle(store, RevocationState.FAILED)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(revocation_entries).values(queued_at=revocation_entries.c.queued_at - 86_400))
    store.revocations.retry("r", EVERYONE)
    assert store.revocation_queue.backlogs()[HERE].oldest_seconds < 60


def count(store: Store, table: sa.Table) -> int:
    with read_transaction(store.engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_history_is_pruned_when_it_is_old_enough_and_what_is_queued_never(store: Store) -> None:
    accept(
        store,
        *(revocation(f"r{n}", f"v{n}") for n in range(3)),
        revocation("shared", "v0"),
        revocation("part", "v0", "q"),
    )
    make_due(store)
    ended = [e for e in claim(store) if e.viewer_id != "q"]
    store.revocation_queue.record_outcomes([DeliveryOutcome(e.id, e.version, RevocationState.SENT) for e in ended])
    now = datetime.now(UTC)
    assert store.revocations.prune(now - timedelta(hours=1), 100) == 0
    assert [store.revocations.prune(now + timedelta(hours=1), 2) for _ in range(3)] == [2, 1, 0]
    assert [r.id for r in store.revocations.list(EVERYONE, limit=9)] == ["part"]
    assert [t.viewer_id for t in get(store, "part").targets] == ["q"]
    assert count(store, revocation_entries) == count(store, revocation_targets) == 1
    assert store.revocations.prune(now + timedelta(days=9999), 100) == 0


def test_idempotency_keys_are_pruned_after_a_day(store: Store) -> None:
    store.revocations.accept("backend", [revocation("r1")], Priority.INTERACTIVE, MAX_STALENESS_SECONDS, KEY)
    store.revocations.prune(datetime.now(UTC), 100)
    assert count(store, idempotency_keys) == 1
    age_keys(store, 24.1)
    store.revocations.prune(datetime.now(UTC), 100)
    assert count(store, idempotency_keys) == 0


def test_no_viewer_shows_in_a_repr(store: Store) -> None:
    wanted = revocation("r1", "the viewer")
    accept(store, wanted)
    assert "the viewer" not in repr((wanted, get(store, "r1"), claim(store)))
