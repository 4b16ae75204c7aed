"""Races between processes and between threads: one racer wins, and nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tests.storage import races, samples
from tests.storage.racers import Race
from tests.storage.samples import AT, HERE, POLICY, secret
from tests.support.audit import EVENT
from tokensvc.deployment.versions import Position
from tokensvc.keys.lifecycle import KeyState, require_key
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

pytestmark = pytest.mark.long

ROUNDS = 12


def test_one_of_two_holders_gets_a_lease(race: Race) -> None:
    for number in range(ROUNDS):
        assert sorted(race.both("acquire_lease", number)) == [False, True]


def test_one_of_two_attempts_spends_a_single_use(race: Race) -> None:
    for number in range(ROUNDS):
        assert sorted(race.both("spend_single_use", number)) == [False, True]


def test_a_store_is_bound_to_one_control_plane_and_account(race: Race) -> None:
    for number in range(ROUNDS):
        plane = race.one_wins("bind_control_plane", number, "ForeignDeployment")
        account = race.one_wins("bind_account", number, "ForeignDeployment")
        record = race.store.deployment.read()
        assert (plane, account) == (record.control_plane, record.account)
        race.unbind(control_plane=None, account=None)


def test_one_of_two_first_keks_is_registered(race: Race) -> None:
    for number in range(ROUNDS):
        first, second = race.both("register_first_kek", number)
        assert first == second == [key.name for key in race.store.kek_registry.list()]
        assert len(first) == 1
        with write_transaction(race.store.engine) as connection:
            connection.execute(sa.delete(schema.wrapping_keys))


def test_one_of_two_private_keys_with_the_same_id_is_stored(race: Race) -> None:
    for number in range(ROUNDS):
        race.one_wins("put_private_key", number, "VaultError")


def test_one_of_two_rewraps_of_a_private_key_succeeds(race: Race) -> None:
    with write_transaction(race.store.engine) as connection:
        connection.execute(sa.insert(schema.private_keys).values(key_id="k1", wrapped="0"))
    for number in range(ROUNDS):
        assert sorted(race.both("replace_private_key", number)) == [False, True]


def test_both_get_the_same_subject_key(race: Race) -> None:
    for number in range(ROUNDS):
        first, second = race.both("add_subject_key", number)
        assert first == second
    assert [key.version for key in race.store.deployment.subject_keys()] == list(range(ROUNDS, 0, -1))
    assert race.store.versions.read().deployment.number == ROUNDS


def test_a_caller_name_is_used_once(race: Race) -> None:
    for number in range(ROUNDS):
        race.one_wins("add_caller", number, "CallerExists")
    assert [len(caller.secrets) for caller in race.store.callers.list()] == [1] * ROUNDS
    assert race.store.versions.read().callers.number == ROUNDS


def test_a_secret_has_one_successor(race: Race) -> None:
    """The secret of the losing racer is not stored, so no API key is printed that does not work."""
    race.store.callers.add("backend", POLICY, secret("0"), EVENT)
    for number in range(ROUNDS):
        newest = race.one_wins("rotate_secret", number, "ConcurrentModification")
        assert [stored.key_id for stored in race.store.callers.get("backend").secrets] == [newest, f"{number}"]
        _rename(race.store, newest, f"{number + 1}")


def test_a_caller_is_disabled_once(race: Race) -> None:
    for number in range(ROUNDS):
        race.store.callers.add(f"caller {number}", POLICY, secret(f"{number}"), EVENT)
        assert race.both("disable_caller", number) == (True, True)
    assert race.store.versions.read().callers.number == 2 * ROUNDS


def test_a_public_key_has_one_record(race: Race) -> None:
    winners = {race.one_wins("add_key", number, "Conflict") for number in range(ROUNDS)}
    assert winners == {key.id for key in race.store.keys.list()}


def test_a_key_is_imported_once_per_account_and_region(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}")
        arn = race.one_wins("record_import", number, "ConcurrentModification")
        assert [placement.arn for placement in require_key(race.store.keys.list(), f"key {number}").placements] == [arn]


def test_a_record_is_discarded_or_imported(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}")
        discarded, imported = race.run("discard_or_import", number)
        assert (discarded.error, imported.error) in {("ConcurrentModification", None), (None, "KeyNotFound")}


def test_two_activations_of_one_key_count_as_one(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}", HERE)
        before = race.store.versions.read().keys.number
        assert race.both("activate_same", number) == (KeyState.ACTIVE, KeyState.ACTIVE)
        assert race.store.versions.read().keys.number == before + 1
    states = [key.placements[0].state for key in race.store.keys.list()]
    assert sorted(states) == [KeyState.ACTIVE] + [KeyState.RETIRING] * (ROUNDS - 1)


def test_activations_of_two_keys_leave_one_active(race: Race) -> None:
    """They are serialized, so the second key makes the first one retiring."""
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {2 * number}", HERE)
        samples.add_key(race.store, f"key {2 * number + 1}", HERE)
        race.both("activate_another", number)
        states = [key.placements[0].state for key in race.store.keys.list()]
        assert sorted(states) == [KeyState.ACTIVE] + [KeyState.RETIRING] * (len(states) - 1)


def test_a_prepared_key_is_activated_or_retired(race: Race) -> None:
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}", HERE)
        state = race.one_wins("activate_or_retire", number, "ConcurrentModification")
        assert require_key(race.store.keys.list(), f"key {number}").placements[0].state == state


def test_an_active_key_gets_a_raised_max_ttl(race: Race) -> None:
    """In either order, the key's longest lifetime covers every token that the new limit allows."""
    for number in range(ROUNDS):
        samples.add_key(race.store, f"key {number}", HERE)
        race.both("activate_or_raise_max_ttl", number)
        assert require_key(race.store.keys.list(), f"key {number}").placements[0].longest_ttl_seconds == 7200 + number


def test_change_numbers_are_unique_and_without_gaps(race: Race) -> None:
    for number in range(3):
        first, second = race.both("record_channels", number)
        assert first == sorted(first)
        assert second == sorted(second)
        start = 2 * number * races.CHANGES_PER_ROUND
        assert sorted(first + second) == list(range(start + 1, start + 2 * races.CHANGES_PER_ROUND + 1))


def test_change_numbers_become_visible_in_order(race: Race) -> None:
    """So a reader that continues after a number misses no change."""
    seen: list[int] = []
    with ThreadPoolExecutor(1) as thread:
        racing = thread.submit(race.run, "record_channels", 0)
        while len(seen) < 2 * races.CHANGES_PER_ROUND:
            seen += [
                row.version for row in race.store.channels.changed_since(Position(seen[-1] if seen else 0), 3).rows
            ]
            assert seen == list(range(1, len(seen) + 1))
        racing.result()


def test_the_same_channels_in_opposite_orders_do_not_deadlock(race: Race) -> None:
    for number in range(ROUNDS):
        numbers = race.both("record_same_channels", number)
        assert {row.version for row in race.store.channels.changed_since(Position(), 1).rows} == {max(numbers)}


def _rename(store: Store, key_id: str, to: str) -> None:
    with write_transaction(store.engine) as connection:
        secrets = schema.caller_secrets
        connection.execute(sa.update(secrets).where(secrets.c.key_id == key_id).values(key_id=to, created_at=AT))
