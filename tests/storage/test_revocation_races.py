"""Races between processes and between threads: no revocation is lost or duplicated."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.storage.racers import Race
from tests.storage.races import CHANGES_PER_ROUND
from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, denial, make_due, revocation
from tests.support.audit import EVENT
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome, QueueEntry
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import viewer_digest

pytestmark = pytest.mark.long

ROUNDS = 6


def queue(store: Store, race_round: int, count: int = 1) -> None:
    """Accept a revocation r<round> of viewers v<round>x0 and so on."""
    viewers = [f"v{race_round}x{number}" for number in range(count)]
    store.revocations.accept(
        "backend", [revocation(f"r{race_round}", *viewers)], Priority.BULK, MAX_STALENESS_SECONDS, events=[EVENT]
    )


def claim(store: Store) -> list[QueueEntry]:
    make_due(store)
    return store.revocation_queue.claim(HERE, Priority.BULK, 1000, 60)


def record_all(store: Store, state: RevocationState = RevocationState.SENT) -> None:
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, state) for entry in claim(store)])


def state_of(store: Store, revocation_id: str) -> RevocationState:
    return store.revocations.get(revocation_id, EVERYONE).state


def test_an_entry_is_claimed_by_one(race: Race) -> None:
    for number in range(ROUNDS):
        queue(race.store, number, 15)
        first, second = race.both("claim_entries", number)
        assert not set(first) & set(second)
        rest = [e.viewer_id for e in race.store.revocation_queue.claim(HERE, Priority.BULK, 99, 60)]
        assert sorted(first + second + rest) == sorted(f"v{number}x{n}" for n in range(15))
        record_all(race.store)


def test_two_revocations_of_the_same_viewers_share_entries_with_the_higher_version(race: Race) -> None:
    for number in range(ROUNDS):
        first, second = race.both("accept_same_viewers", number)
        assert not set(first) & set(second)
        claimed = claim(race.store)
        assert sorted(e.version for e in claimed) == sorted(map(max, zip(first, second, strict=True)))
        assert len(claimed) == CHANGES_PER_ROUND
        record_all(race.store)


def test_an_idempotency_key_used_twice_at_once_has_one_result(race: Race) -> None:
    for number in range(ROUNDS):
        first, second = race.both("accept_same_key", number)
        assert first == second
    assert len(race.store.revocations.list(EVERYONE, limit=99)) == ROUNDS


def test_an_entry_raised_while_its_outcome_is_recorded_is_sent_again(race: Race) -> None:
    """In either order, no version that was acknowledged with 202 is lost."""
    for number in range(ROUNDS):
        queue(race.store, number, CHANGES_PER_ROUND)
        claim(race.store)
        _, requested = race.both("record_outcomes_or_raise", number)
        waiting = claim(race.store)
        assert len(waiting) == CHANGES_PER_ROUND
        assert min(e.version for e in waiting) >= requested
        record_all(race.store)


def test_an_entry_is_either_cancelled_or_sent(race: Race) -> None:
    for number in range(ROUNDS):
        queue(race.store, number)
        claim(race.store)
        state, _ = race.both("cancel_or_record_outcomes", number)
        assert state_of(race.store, f"r{number}") == state
        assert claim(race.store) == []


def test_a_revocation_that_joins_a_cancelled_entry_stays_queued(race: Race) -> None:
    for number in range(ROUNDS):
        queue(race.store, number)
        assert race.both("cancel_or_join", number) == (RevocationState.CANCELLED, "joined")
        assert [e.viewer_id for e in claim(race.store)] == [f"v{number}x0"]
        assert state_of(race.store, f"joins r{number}") is RevocationState.QUEUED
        record_all(race.store)


def test_two_retries_queue_an_entry_once(race: Race) -> None:
    for number in range(ROUNDS):
        queue(race.store, number, 3)
        record_all(race.store, RevocationState.FAILED)
        assert race.both("retry_same", number) == (RevocationState.QUEUED, RevocationState.QUEUED)
        assert len(claim(race.store)) == 3
        record_all(race.store)


def test_the_same_denials_in_opposite_orders_do_not_deadlock(race: Race) -> None:
    """The second one finds denials that last as long as its own, and changes nothing."""
    for number in range(ROUNDS):
        before = race.store.versions.read().denials.number
        assert race.both("deny_same_viewers", number) == ([before + 1], [before + 1])
        assert race.store.versions.read().denials.number == before + 1


def test_a_denial_is_removed_once(race: Race) -> None:
    for number in range(ROUNDS):
        race.store.denials.add("backend", [denial(f"v{number}")], event=EVENT)
        race.one_wins("remove_denial", number, "DenialNotFound")
    assert race.store.denials.in_force(EVERYONE, limit=9, digests=[viewer_digest(CHANNEL, "v0")]) == []


def test_two_prunes_delete_each_entry_once(race: Race) -> None:
    for number in range(ROUNDS):
        queue(race.store, number, 15)
        record_all(race.store)
        assert sum(race.both("prune_same", number)) == 15
        with read_transaction(race.store.engine) as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(revocation_entries)).scalar_one() == 0
        assert race.store.revocations.list(EVERYONE, limit=9) == []
