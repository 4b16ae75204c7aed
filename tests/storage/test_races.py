"""Two at the same moment, on both databases, as processes and as threads: one wins, nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tests.storage import races, samples
from tests.storage.racers import Ring
from tests.storage.samples import AT, HERE, POLICY, secret
from tokensvc.deployment.versions import Position
from tokensvc.keys.lifecycle import KeyState, require_key
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

ROUNDS = 12


def test_one_holder_gets_a_lease(ring: Ring) -> None:
    for number in range(ROUNDS):
        assert sorted(ring.both("acquire_lease", number)) == [False, True]


def test_a_store_is_bound_to_one_control_plane_and_account(ring: Ring) -> None:
    for number in range(ROUNDS):
        plane = ring.one_wins("bind_control_plane", number, "ForeignDeployment")
        account = ring.one_wins("bind_account", number, "ForeignDeployment")
        kept = ring.store.deployment.read()
        assert (plane, account) == (kept.control_plane, kept.account)
        ring.forget(control_plane=None, account=None)


def test_a_store_takes_one_first_wrapping_key(ring: Ring) -> None:
    for number in range(ROUNDS):
        first, second = ring.both("add_first_wrapping_key", number)
        assert first == second == [key.name for key in ring.store.kek_registry.list()]
        assert len(first) == 1
        with write_transaction(ring.store.engine) as connection:
            connection.execute(sa.delete(schema.wrapping_keys))


def test_of_two_private_keys_of_one_id_one_is_kept(ring: Ring) -> None:
    for number in range(ROUNDS):
        ring.one_wins("put_private_key", number, "VaultError")


def test_a_private_key_is_wrapped_anew_by_one(ring: Ring) -> None:
    with write_transaction(ring.store.engine) as connection:
        connection.execute(sa.insert(schema.private_keys).values(key_id="k1", wrapped="0"))
    for number in range(ROUNDS):
        assert sorted(ring.both("replace_private_key", number)) == [False, True]


def test_both_get_the_one_subject_key_that_is_kept(ring: Ring) -> None:
    for number in range(ROUNDS):
        first, second = ring.both("add_subject_key", number)
        assert first == second
    assert [key.version for key in ring.store.deployment.subject_keys()] == list(range(ROUNDS, 0, -1))
    assert ring.store.versions.read().deployment.number == ROUNDS


def test_a_callers_name_is_given_once(ring: Ring) -> None:
    for number in range(ROUNDS):
        ring.one_wins("add_caller", number, "CallerExists")
    assert [len(caller.secrets) for caller in ring.store.callers.list()] == [1] * ROUNDS
    assert ring.store.versions.read().callers.number == ROUNDS


def test_a_secret_has_one_successor(ring: Ring) -> None:
    """The loser's secret is nowhere, so that no key is printed which does not work."""
    ring.store.callers.add("backend", POLICY, secret("0"))
    for number in range(ROUNDS):
        newest = ring.one_wins("rotate_secret", number, "ConcurrentModification")
        assert [kept.key_id for kept in ring.store.callers.get("backend").secrets] == [newest, f"{number}"]
        _rename(ring.store, newest, f"{number + 1}")


def test_a_caller_is_disabled_once(ring: Ring) -> None:
    for number in range(ROUNDS):
        ring.store.callers.add(f"caller {number}", POLICY, secret(f"{number}"))
        assert ring.both("disable_caller", number) == (True, True)
    assert ring.store.versions.read().callers.number == 2 * ROUNDS


def test_a_public_half_has_one_record(ring: Ring) -> None:
    winners = {ring.one_wins("add_key", number, "Conflict") for number in range(ROUNDS)}
    assert winners == {key.id for key in ring.store.keys.list()}


def test_a_key_is_imported_once_in_a_place(ring: Ring) -> None:
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}")
        arn = ring.one_wins("record_import", number, "ConcurrentModification")
        assert [there.arn for there in require_key(ring.store.keys.list(), f"key {number}").placements] == [arn]


def test_a_record_is_discarded_or_imported(ring: Ring) -> None:
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}")
        discarded, imported = ring.race("discard_or_import", number)
        assert (discarded.failure, imported.failure) in {("ConcurrentModification", None), (None, "KeyNotFound")}


def test_two_activations_of_one_key_are_one(ring: Ring) -> None:
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}", HERE)
        before = ring.store.versions.read().keys.number
        assert ring.both("activate_same", number) == (KeyState.ACTIVE, KeyState.ACTIVE)
        assert ring.store.versions.read().keys.number == before + 1
    states = [key.placements[0].state for key in ring.store.keys.list()]
    assert sorted(states) == [KeyState.ACTIVE] + [KeyState.RETIRING] * (ROUNDS - 1)


def test_activations_of_two_keys_leave_one_active(ring: Ring) -> None:
    """One after the other, so the later of them retires the earlier."""
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {2 * number}", HERE)
        samples.add_key(ring.store, f"key {2 * number + 1}", HERE)
        ring.both("activate_another", number)
        states = [key.placements[0].state for key in ring.store.keys.list()]
        assert sorted(states) == [KeyState.ACTIVE] + [KeyState.RETIRING] * (len(states) - 1)


def test_a_prepared_key_is_activated_or_retired(ring: Ring) -> None:
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}", HERE)
        state = ring.one_wins("activate_or_retire", number, "ConcurrentModification")
        assert require_key(ring.store.keys.list(), f"key {number}").placements[0].state == state


def test_no_active_key_misses_a_raised_ceiling(ring: Ring) -> None:
    """Whichever comes first, the key's longest life covers every token that the new ceiling allows."""
    for number in range(ROUNDS):
        samples.add_key(ring.store, f"key {number}", HERE)
        ring.both("activate_or_raise_ceiling", number)
        assert require_key(ring.store.keys.list(), f"key {number}").placements[0].longest_ttl_seconds == 7200 + number


def test_change_numbers_are_neither_lost_nor_given_twice(ring: Ring) -> None:
    for number in range(3):
        first, second = ring.both("record_channels", number)
        assert first == sorted(first)
        assert second == sorted(second)
        begin = 2 * number * races.CHANGES_A_ROUND
        assert sorted(first + second) == list(range(begin + 1, begin + 2 * races.CHANGES_A_ROUND + 1))


def test_a_reader_that_saw_a_number_sees_every_change_up_to_it(ring: Ring) -> None:
    """Numbers become visible in order, so that whoever asks for what came after one misses nothing."""
    seen: list[int] = []
    with ThreadPoolExecutor(1) as beside:
        race = beside.submit(ring.race, "record_channels", 0)
        while len(seen) < 2 * races.CHANGES_A_ROUND:
            seen += [
                row.version for row in ring.store.channels.changed_since(Position(seen[-1] if seen else 0), 3).rows
            ]
            assert seen == list(range(1, len(seen) + 1))
        race.result()


def test_the_same_channels_in_opposite_orders_do_not_deadlock(ring: Ring) -> None:
    for number in range(ROUNDS):
        numbers = ring.both("record_same_channels", number)
        assert {row.version for row in ring.store.channels.changed_since(Position(), 1).rows} == {max(numbers)}


def _rename(store: Store, key_id: str, to: str) -> None:
    with write_transaction(store.engine) as connection:
        secrets = schema.caller_secrets
        connection.execute(sa.update(secrets).where(secrets.c.key_id == key_id).values(key_id=to, created_at=AT))
