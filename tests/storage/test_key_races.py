"""Races between compromises, deletions and activations of keys, between processes and between threads."""

from __future__ import annotations

import pytest

from tests.storage import samples
from tests.storage.racers import Race
from tests.storage.samples import AT, HERE, LATER
from tests.support.audit import EVENT
from tokensvc.keys.lifecycle import KeyPlacement, KeyState, require_key
from tokensvc.storage.store import Store

pytestmark = pytest.mark.long

ROUNDS = 8


def placement(store: Store, key_id: str) -> KeyPlacement:
    return require_key(store.keys.list(), key_id).placements[0]


def add_retiring_and_active(store: Store, number: int) -> None:
    """Add one retiring and one active key; no other key may sign."""
    for state in ("retiring", "active"):
        samples.add_key(store, f"{state} {number}", HERE)
        store.keys.activate(f"{state} {number}", HERE, AT, 3600)


def compromise_all(store: Store) -> None:
    """Compromise all keys, for another round."""
    for record in store.keys.list():
        store.keys.compromise(record.id, LATER, 0, include_standby=True, event=EVENT)


def test_concurrent_compromise_and_activation_leave_a_trusted_key_active_or_none(race: Race) -> None:
    for number in range(ROUNDS):
        add_retiring_and_active(race.store, number)
        samples.add_key(race.store, f"next {number}", HERE)
        compromised, activated = race.run("compromise_or_activate", number)
        assert compromised.error is None
        assert placement(race.store, f"active {number}").state is KeyState.COMPROMISED
        refused = activated.error == "ConcurrentModification"
        assert not refused or number % 2 == 0
        next_state = placement(race.store, f"next {number}").state
        assert next_state is (KeyState.COMPROMISED if refused else KeyState.ACTIVE)
        compromise_all(race.store)


def test_a_retiring_key_is_either_reactivated_or_deleted(
    race: Race,
) -> None:
    for number in range(ROUNDS):
        add_retiring_and_active(race.store, number)
        compromised, deletion = race.run("compromise_or_start_deletion", number)
        assert compromised.error is None
        retiring = placement(race.store, f"retiring {number}")
        assert (
            (retiring.state is KeyState.ACTIVE)
            == (retiring.deleting_at is None)
            == (deletion.error == "ConcurrentModification")
        )
        compromise_all(race.store)


def test_concurrent_compromises_of_both_keys_leave_neither_active(race: Race) -> None:
    for number in range(ROUNDS):
        add_retiring_and_active(race.store, number)
        race.both("compromise_two", number)
        assert {placement(race.store, f"{name} {number}").state for name in ("active", "retiring")} == {
            KeyState.COMPROMISED
        }


def test_a_key_that_is_compromised_during_its_import_is_compromised_there(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}")
        race.both("compromise_or_import", number)
        assert placement(race.store, f"key {number}").state is KeyState.COMPROMISED


def test_a_reactivated_key_gets_a_raised_max_ttl(race: Race) -> None:
    for number in range(ROUNDS):
        add_retiring_and_active(race.store, number)
        race.both("compromise_or_raise_max_ttl", number)
        retiring = placement(race.store, f"retiring {number}")
        assert (retiring.state, retiring.longest_ttl_seconds) == (KeyState.ACTIVE, 7200 + number)
        compromise_all(race.store)


def test_a_step_that_two_start_is_one_entry(race: Race) -> None:
    for number in range(ROUNDS):
        first, second = race.both("start_same_step", number)
        assert first == second
    assert len(race.store.journal.open_entries()) == ROUNDS


def test_one_of_two_stray_imports_is_recorded(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}", HERE)
        race.store.keys.record_deletion(f"key {number}", HERE, AT)
        arn = race.one_wins("record_stray_import", number, "ConcurrentModification")
        assert placement(race.store, f"key {number}").arn == arn


def test_two_first_heartbeats_of_one_worker_are_one_worker(race: Race) -> None:
    for number in range(ROUNDS):
        race.both("send_heartbeat", number)
        [worker] = race.store.workers.list()
        assert worker.heartbeat.keys_version == number
        race.store.workers.deregister("worker")
