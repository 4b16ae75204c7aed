"""Two at the same moment, on both databases, as processes and as threads: revocations are neither lost nor doubled."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.storage.racers import Ring
from tests.storage.races import CHANGES_A_ROUND
from tests.storage.samples import CHANNEL, EVERYONE, HERE, MAX_STALENESS_SECONDS, denial, make_due, revocation
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome, QueueEntry
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import viewer_digest

pytestmark = pytest.mark.slow

ROUNDS = 6


def queue(store: Store, race_round: int, count: int = 1) -> None:
    """A revocation r<round> of viewers v<round>x0 and so on."""
    viewers = [f"v{race_round}x{number}" for number in range(count)]
    store.revocations.accept("backend", [revocation(f"r{race_round}", *viewers)], Priority.BULK, MAX_STALENESS_SECONDS)


def claim(store: Store) -> list[QueueEntry]:
    make_due(store)
    return store.revocation_queue.claim(HERE, Priority.BULK, 1000, 60)


def settle_all(store: Store, state: RevocationState = RevocationState.SENT) -> None:
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, state) for entry in claim(store)])


def state_of(store: Store, revocation_id: str) -> RevocationState:
    return store.revocations.get(revocation_id, EVERYONE).state


def test_an_entry_is_claimed_by_one(ring: Ring) -> None:
    for number in range(ROUNDS):
        queue(ring.store, number, 15)
        first, second = ring.both("claim_entries", number)
        assert not set(first) & set(second)
        rest = [e.viewer_id for e in ring.store.revocation_queue.claim(HERE, Priority.BULK, 99, 60)]
        assert sorted(first + second + rest) == sorted(f"v{number}x{n}" for n in range(15))
        settle_all(ring.store)


def test_two_who_revoke_the_same_viewers_share_an_entry_at_the_higher_version(ring: Ring) -> None:
    for number in range(ROUNDS):
        first, second = ring.both("accept_same_viewers", number)
        assert not set(first) & set(second)
        claimed = claim(ring.store)
        assert sorted(e.version for e in claimed) == sorted(map(max, zip(first, second, strict=True)))
        assert len(claimed) == CHANGES_A_ROUND
        settle_all(ring.store)


def test_a_key_sent_twice_at_once_has_one_answer(ring: Ring) -> None:
    for number in range(ROUNDS):
        first, second = ring.both("accept_same_key", number)
        assert first == second
    assert len(ring.store.revocations.list(EVERYONE, limit=99)) == ROUNDS


def test_what_is_raised_while_it_is_settled_is_sent_again(ring: Ring) -> None:
    """Whichever comes first: no version that was answered 202 is lost."""
    for number in range(ROUNDS):
        queue(ring.store, number, CHANGES_A_ROUND)
        claim(ring.store)
        _, asked = ring.both("settle_or_raise", number)
        waiting = claim(ring.store)
        assert len(waiting) == CHANGES_A_ROUND
        assert min(e.version for e in waiting) >= asked
        settle_all(ring.store)


def test_what_is_given_up_while_it_is_settled_is_one_of_the_two(ring: Ring) -> None:
    for number in range(ROUNDS):
        queue(ring.store, number)
        claim(ring.store)
        state, _ = ring.both("cancel_or_settle", number)
        assert state_of(ring.store, f"r{number}") == state
        assert claim(ring.store) == []


def test_who_joins_what_is_being_given_up_is_not_given_up(ring: Ring) -> None:
    for number in range(ROUNDS):
        queue(ring.store, number)
        assert ring.both("cancel_or_join", number) == (RevocationState.CANCELLED, "joined")
        assert [e.viewer_id for e in claim(ring.store)] == [f"v{number}x0"]
        assert state_of(ring.store, f"joins r{number}") is RevocationState.QUEUED
        settle_all(ring.store)


def test_two_who_try_again_queue_it_once(ring: Ring) -> None:
    for number in range(ROUNDS):
        queue(ring.store, number, 3)
        settle_all(ring.store, RevocationState.FAILED)
        assert ring.both("retry_same", number) == (RevocationState.QUEUED, RevocationState.QUEUED)
        assert len(claim(ring.store)) == 3
        settle_all(ring.store)


def test_the_same_denials_in_opposite_orders_do_not_deadlock(ring: Ring) -> None:
    """The second finds them as long as its own, and changes nothing."""
    for number in range(ROUNDS):
        before = ring.store.versions.read().denials.number
        assert ring.both("deny_same_viewers", number) == ([before + 1], [before + 1])
        assert ring.store.versions.read().denials.number == before + 1


def test_a_denial_is_removed_once(ring: Ring) -> None:
    for number in range(ROUNDS):
        ring.store.denials.add("backend", [denial(f"v{number}")])
        ring.one_wins("remove_denial", number, "DenialNotFound")
    assert ring.store.denials.in_force(EVERYONE, limit=9, digests=[viewer_digest(CHANNEL, "v0")]) == []


def test_two_who_prune_forget_each_entry_once(ring: Ring) -> None:
    for number in range(ROUNDS):
        queue(ring.store, number, 15)
        settle_all(ring.store)
        assert sum(ring.both("prune_same", number)) == 15
        with read_transaction(ring.store.engine) as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(revocation_entries)).scalar_one() == 0
        assert ring.store.revocations.list(EVERYONE, limit=9) == []
