"""Two at the same moment as to how keys end, on both databases, as processes and as threads."""

from __future__ import annotations

import pytest

from tests.storage import samples
from tests.storage.racers import Ring
from tests.storage.samples import AT, HERE, LATER
from tokensvc.keys.lifecycle import KeyPlacement, KeyState, require_key
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

ROUNDS = 8


def there(store: Store, key_id: str) -> KeyPlacement:
    return require_key(store.keys.list(), key_id).placements[0]


def one_retires(store: Store, number: int) -> None:
    """One key retiring and one active, and nothing else that may sign."""
    for state in ("retiring", "active"):
        samples.add_key(store, f"{state} {number}", HERE)
        store.keys.activate(f"{state} {number}", HERE, AT, 3600)


def end_all(store: Store) -> None:
    """Compromise whatever may still sign, for another round."""
    for record in store.keys.list():
        store.keys.compromise(record.id, LATER, 0, include_standby=True)


def test_a_compromise_beside_an_activation_leaves_one_that_signs_or_none_that_is_distrusted(ring: Ring) -> None:
    for number in range(ROUNDS):
        one_retires(ring.store, number)
        samples.add_key(ring.store, f"next {number}", HERE)
        compromised, activated = ring.race("compromise_or_activate", number)
        assert compromised.failure is None
        assert there(ring.store, f"active {number}").state is KeyState.COMPROMISED
        distrusted = activated.failure == "ConcurrentModification"
        assert not distrusted or number % 2 == 0
        following = there(ring.store, f"next {number}").state
        assert following is (KeyState.COMPROMISED if distrusted else KeyState.ACTIVE)
        end_all(ring.store)


def test_a_key_that_is_called_back_is_not_deleted_and_one_that_is_being_deleted_is_not_called_back(
    ring: Ring,
) -> None:
    for number in range(ROUNDS):
        one_retires(ring.store, number)
        compromised, begun = ring.race("compromise_or_start_deletion", number)
        assert compromised.failure is None
        former = there(ring.store, f"retiring {number}")
        assert (
            (former.state is KeyState.ACTIVE)
            == (former.deleting_at is None)
            == (begun.failure == "ConcurrentModification")
        )
        end_all(ring.store)


def test_of_two_that_stand_in_for_one_another_neither_signs_once_both_are_compromised(ring: Ring) -> None:
    for number in range(ROUNDS):
        one_retires(ring.store, number)
        ring.both("compromise_two", number)
        assert {there(ring.store, f"{name} {number}").state for name in ("active", "retiring")} == {
            KeyState.COMPROMISED
        }


def test_a_key_that_is_compromised_while_its_import_is_noted_is_compromised_there(ring: Ring) -> None:
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}")
        ring.both("compromise_or_import", number)
        assert there(ring.store, f"key {number}").state is KeyState.COMPROMISED


def test_whoever_is_called_back_does_not_miss_a_raised_ceiling(ring: Ring) -> None:
    for number in range(ROUNDS):
        one_retires(ring.store, number)
        ring.both("compromise_or_raise_ceiling", number)
        former = there(ring.store, f"retiring {number}")
        assert (former.state, former.longest_ttl_seconds) == (KeyState.ACTIVE, 7200 + number)
        end_all(ring.store)


def test_a_step_that_two_begin_is_one_entry(ring: Ring) -> None:
    for number in range(ROUNDS):
        first, second = ring.both("begin_same_step", number)
        assert first == second
    assert len(ring.store.journal.open_entries()) == ROUNDS


def test_of_two_pairs_that_turn_up_late_one_is_noted(ring: Ring) -> None:
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}", HERE)
        ring.store.keys.record_deletion(f"key {number}", HERE, AT)
        arn = ring.one_wins("record_late_import", number, "ConcurrentModification")
        assert there(ring.store, f"key {number}").arn == arn


def test_two_first_beats_of_one_worker_are_one_worker(ring: Ring) -> None:
    for number in range(ROUNDS):
        ring.both("beat", number)
        [worker] = ring.store.workers.list()
        assert worker.heartbeat.keys_version == number
        ring.store.workers.deregister("worker")
