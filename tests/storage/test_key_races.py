"""Two at the same moment as to how keys end, on both databases, as processes and as threads."""

from __future__ import annotations

import pytest

from tests.storage import samples
from tests.storage.racers import Race
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


def test_a_compromise_beside_an_activation_leaves_one_that_signs_or_none_that_is_distrusted(race: Race) -> None:
    for number in range(ROUNDS):
        one_retires(race.store, number)
        samples.add_key(race.store, f"next {number}", HERE)
        compromised, activated = race.run("compromise_or_activate", number)
        assert compromised.error is None
        assert there(race.store, f"active {number}").state is KeyState.COMPROMISED
        distrusted = activated.error == "ConcurrentModification"
        assert not distrusted or number % 2 == 0
        following = there(race.store, f"next {number}").state
        assert following is (KeyState.COMPROMISED if distrusted else KeyState.ACTIVE)
        end_all(race.store)


def test_a_key_that_is_called_back_is_not_deleted_and_one_that_is_being_deleted_is_not_called_back(
    race: Race,
) -> None:
    for number in range(ROUNDS):
        one_retires(race.store, number)
        compromised, begun = race.run("compromise_or_start_deletion", number)
        assert compromised.error is None
        former = there(race.store, f"retiring {number}")
        assert (
            (former.state is KeyState.ACTIVE)
            == (former.deleting_at is None)
            == (begun.error == "ConcurrentModification")
        )
        end_all(race.store)


def test_of_two_that_stand_in_for_one_another_neither_signs_once_both_are_compromised(race: Race) -> None:
    for number in range(ROUNDS):
        one_retires(race.store, number)
        race.both("compromise_two", number)
        assert {there(race.store, f"{name} {number}").state for name in ("active", "retiring")} == {
            KeyState.COMPROMISED
        }


def test_a_key_that_is_compromised_while_its_import_is_noted_is_compromised_there(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}")
        race.both("compromise_or_import", number)
        assert there(race.store, f"key {number}").state is KeyState.COMPROMISED


def test_whoever_is_called_back_does_not_miss_a_raised_ceiling(race: Race) -> None:
    for number in range(ROUNDS):
        one_retires(race.store, number)
        race.both("compromise_or_raise_max_ttl", number)
        former = there(race.store, f"retiring {number}")
        assert (former.state, former.longest_ttl_seconds) == (KeyState.ACTIVE, 7200 + number)
        end_all(race.store)


def test_a_step_that_two_begin_is_one_entry(race: Race) -> None:
    for number in range(ROUNDS):
        first, second = race.both("start_same_step", number)
        assert first == second
    assert len(race.store.journal.open_entries()) == ROUNDS


def test_of_two_pairs_that_turn_up_late_one_is_noted(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}", HERE)
        race.store.keys.record_deletion(f"key {number}", HERE, AT)
        arn = race.one_wins("record_stray_import", number, "ConcurrentModification")
        assert there(race.store, f"key {number}").arn == arn


def test_two_first_beats_of_one_worker_are_one_worker(race: Race) -> None:
    for number in range(ROUNDS):
        race.both("send_heartbeat", number)
        [worker] = race.store.workers.list()
        assert worker.heartbeat.keys_version == number
        race.store.workers.deregister("worker")
