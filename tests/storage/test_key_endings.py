"""Contract of `KeyStore`, as to how keys end: deletions that were begun, compromises, and pairs that turn up late."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.storage import samples
from tests.storage.samples import AT, HERE, LATER, THERE, key_arn
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import ConcurrentModification, KeyNotFound
from tokensvc.keys.lifecycle import KeyPlacement, KeyState, require_key
from tokensvc.storage.store import Store

PREPARED, ACTIVE, RETIRING, RETIRED, COMPROMISED = KeyState
LEAD = 30.0
MUCH_LATER = LATER + timedelta(hours=1)


def place_of(store: Store, key_id: str, account_region: AccountRegion = HERE) -> KeyPlacement:
    """What the store knows of a key in a place."""
    return next(
        there for there in require_key(store.keys.list(), key_id).placements if there.account_region == account_region
    )


def state(store: Store, key_id: str, account_region: AccountRegion = HERE) -> KeyState:
    return place_of(store, key_id, account_region).state


def compromise(store: Store, key_id: str, *, distrust: bool = False, unable: frozenset[str] = frozenset()) -> None:
    store.keys.compromise(key_id, LATER, LEAD, include_standby=distrust, unable=unable)


def three(store: Store, account_region: AccountRegion = HERE) -> None:
    """k1 retiring, k2 active, k3 standing ready."""
    for key_id in ("k1", "k2", "k3"):
        samples.add_key(store, key_id, account_region)
    store.keys.activate("k1", account_region, AT, 3600)
    store.keys.activate("k2", account_region, AT + timedelta(minutes=1), 3600)


# --- start_deletion


@pytest.mark.parametrize("key_id", ["k1", "k3"])
def test_a_deletion_that_was_begun_is_noted_once(store: Store, key_id: str) -> None:
    three(store)
    seen = place_of(store, key_id)
    before = store.versions.read().keys.number
    begun = store.keys.start_deletion(seen, LATER)
    assert begun.placements == (seen._replace(deleting_at=LATER),)
    assert store.keys.start_deletion(seen, MUCH_LATER) == begun
    assert store.versions.read().keys.number == before + 1


def test_what_is_being_deleted_never_signs_again(store: Store) -> None:
    three(store)
    store.keys.start_deletion(place_of(store, "k3"), LATER)
    with pytest.raises(ConcurrentModification, match="cannot be reactivated"):
        store.keys.activate("k3", HERE, LATER, 3600)
    store.keys.start_deletion(place_of(store, "k1"), LATER)
    compromise(store, "k2")
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [RETIRING, COMPROMISED, PREPARED]


def test_an_active_keys_deletion_is_not_begun(store: Store) -> None:
    three(store)
    seen = place_of(store, "k3")
    store.keys.activate("k3", HERE, LATER, 3600)
    for stale in (seen, place_of(store, "k3")):
        with pytest.raises(ConcurrentModification, match="has signed"):
            store.keys.start_deletion(stale, LATER)
    assert place_of(store, "k3").deleting_at is None


def test_a_deletion_decided_before_the_key_signed_again_is_not_begun(store: Store) -> None:
    """It had drained; a compromise called it back; it retires for the second time, and its new tokens live."""
    three(store)
    drained, standby = place_of(store, "k1"), place_of(store, "k3")
    store.keys.start_deletion(standby, AT)
    compromise(store, "k2")
    assert state(store, "k1") is ACTIVE
    samples.add_key(store, "k4", HERE)
    store.keys.activate("k4", HERE, MUCH_LATER, 3600)
    assert state(store, "k1") is RETIRING
    with pytest.raises(ConcurrentModification, match="has signed"):
        store.keys.start_deletion(drained, MUCH_LATER)
    assert store.keys.start_deletion(place_of(store, "k1"), MUCH_LATER).placements[0].deleting_at == MUCH_LATER


def test_a_deletion_decided_before_a_compromise_is_begun_all_the_same(store: Store) -> None:
    three(store)
    seen = [place_of(store, key_id) for key_id in ("k1", "k3")]
    for key_id in ("k1", "k3"):
        compromise(store, key_id)
    assert all(store.keys.start_deletion(there, LATER) for there in seen)


def test_what_is_nowhere_is_not_deleted(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    with pytest.raises(ConcurrentModification, match="never imported in eu-west-1"):
        store.keys.start_deletion(place_of(store, "k1")._replace(account_region=THERE), AT)
    with pytest.raises(KeyNotFound):
        store.keys.start_deletion(place_of(store, "k1")._replace(key_id="k9"), AT)


# --- compromise


def test_the_standby_takes_over_in_the_same_moment(store: Store) -> None:
    three(store)
    before = store.versions.read().keys.number
    compromise(store, "k2")
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [RETIRING, COMPROMISED, ACTIVE]
    assert place_of(store, "k2").compromised_at == require_key(store.keys.list(), "k2").compromised_at == LATER
    assert place_of(store, "k3").activated_at == LATER
    assert store.versions.read().keys.number == before + 1, "no worker ever sees half of it"


def test_without_a_standby_the_retiring_key_is_called_back(store: Store) -> None:
    three(store)
    was = place_of(store, "k1")
    compromise(store, "k2", unable=frozenset({"k3"}))
    assert place_of(store, "k1") == was._replace(state=ACTIVE), "since when it had retired shows that it only stands in"
    assert state(store, "k3") is PREPARED


def test_nobody_signs_where_no_other_key_is_able(store: Store) -> None:
    three(store)
    compromise(store, "k2", unable=frozenset({"k1", "k3"}))
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [RETIRING, COMPROMISED, PREPARED]


def test_a_standby_that_has_not_led_does_not_take_over(store: Store) -> None:
    three(store)
    at = AT + timedelta(seconds=LEAD - 1)
    store.keys.compromise("k2", at, LEAD, include_standby=False)
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [ACTIVE, COMPROMISED, PREPARED]


@pytest.mark.parametrize(("ceiling", "unable", "key_id", "longest"), [(7200, "k1", "k3", 7200), (60, "k3", "k1", 3600)])
def test_who_takes_over_lives_up_to_the_ceiling_and_never_for_less_than_before(
    store: Store, ceiling: int, unable: str, key_id: str, longest: int
) -> None:
    three(store)
    store.deployment.set_max_ttl_seconds(ceiling)
    compromise(store, "k2", unable=frozenset({unable}))
    there = place_of(store, key_id)
    assert (there.state, there.longest_ttl_seconds) == (ACTIVE, longest)


@pytest.mark.parametrize(("key_id", "was"), [("k1", RETIRING), ("k3", PREPARED)])
def test_the_active_key_goes_on_when_another_is_compromised(store: Store, key_id: str, was: KeyState) -> None:
    three(store)
    assert state(store, key_id) is was
    compromise(store, key_id)
    assert (state(store, key_id), state(store, "k2")) == (COMPROMISED, ACTIVE)


def test_a_key_is_compromised_in_every_place_and_each_place_goes_on_with_its_own_best(store: Store) -> None:
    three(store)
    for key_id in ("k1", "k2"):
        store.keys.record_import(key_id, THERE, key_arn(key_id, THERE), AT)
    store.keys.activate("k2", THERE, AT, 3600)
    compromise(store, "k2")
    assert (state(store, "k2", HERE), state(store, "k2", THERE)) == (COMPROMISED, COMPROMISED)
    assert (state(store, "k3", HERE), state(store, "k1", THERE)) == (ACTIVE, ACTIVE)


def test_a_distrusted_standby_is_compromised_with_it_and_so_is_a_key_that_was_only_made(store: Store) -> None:
    three(store)
    samples.add_key(store, "k4")
    compromise(store, "k2", distrust=True)
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [ACTIVE, COMPROMISED, COMPROMISED]
    assert [key.compromised_at for key in store.keys.list()] == [None, LATER, LATER, LATER]


def test_a_compromise_told_again_changes_nothing(store: Store) -> None:
    three(store)
    compromise(store, "k2")
    after, number = store.keys.list(), store.versions.read().keys.number
    store.keys.compromise("k2", MUCH_LATER, LEAD, include_standby=False)
    assert (store.keys.list(), store.versions.read().keys.number) == (after, number)


def test_an_unknown_key_is_not_compromised(store: Store) -> None:
    with pytest.raises(KeyNotFound):
        compromise(store, "k1")


def test_a_compromised_key_never_signs_again_and_stays_compromised_when_its_pair_is_gone(store: Store) -> None:
    three(store)
    compromise(store, "k2")
    with pytest.raises(ConcurrentModification, match="compromised"):
        store.keys.activate("k2", HERE, LATER, 3600)
    gone = store.keys.record_deletion("k2", HERE, MUCH_LATER)
    assert (gone.placements[0].state, gone.placements[0].retired_at) == (COMPROMISED, MUCH_LATER)
    assert store.keys.record_deletion("k2", HERE, MUCH_LATER + timedelta(hours=1)) == gone


def test_a_retired_key_may_turn_out_to_be_compromised(store: Store) -> None:
    three(store)
    store.keys.record_deletion("k1", HERE, LATER)
    compromise(store, "k1")
    assert (state(store, "k1"), state(store, "k2")) == (COMPROMISED, ACTIVE)


# --- imports that come about late


def test_the_import_of_a_compromised_key_is_compromised(store: Store) -> None:
    samples.add_key(store, "k1")
    compromise(store, "k1")
    imported = store.keys.record_import("k1", HERE, key_arn("k1"), MUCH_LATER).placements[0]
    assert (imported.state, imported.compromised_at, imported.is_imported) == (COMPROMISED, LATER, True)


def test_a_fingerprint_that_differs_is_kept_with_the_import(store: Store) -> None:
    samples.add_key(store, "k1")
    store.keys.record_import("k1", HERE, key_arn("k1"), AT, fingerprint_differs=True)
    assert place_of(store, "k1").fingerprint_differs


def test_the_longest_life_of_an_import_that_may_have_signed_is_the_ceiling(store: Store) -> None:
    """Of what others minted with it, when that is longer; taken up again, it is not changed."""
    samples.add_key(store, "k1")
    longer = store.keys.add("k2", "00:02", b"another", AT, 90_000)
    ceiling = store.deployment.read().max_ttl_seconds
    for key_id, seconds in (("k1", ceiling), (longer.id, 90_000)):
        store.keys.record_import(key_id, HERE, key_arn(key_id), AT, may_have_signed=True)
        assert place_of(store, key_id).longest_ttl_seconds == seconds
    before = store.keys.list()
    store.deployment.set_max_ttl_seconds(60)
    store.keys.record_import("k1", HERE, key_arn("k1"), LATER, may_have_signed=True)
    assert store.keys.list() == before


@pytest.mark.parametrize("bad", [False, True])
def test_a_pair_that_turns_up_after_its_key_was_deleted_there_is_to_be_deleted_too(store: Store, bad: bool) -> None:
    three(store)
    if bad:
        compromise(store, "k1")
    store.keys.record_deletion("k1", HERE, LATER)
    was = place_of(store, "k1")
    late = store.keys.record_import("k1", HERE, key_arn("late"), MUCH_LATER).placements[0]
    assert late == was._replace(arn=key_arn("late"), imported_at=MUCH_LATER, deleting_at=MUCH_LATER, retired_at=None)
    with pytest.raises(ConcurrentModification):
        store.keys.activate("k1", HERE, MUCH_LATER, 3600)
    store.keys.start_deletion(late, MUCH_LATER)
    gone = store.keys.record_deletion("k1", HERE, MUCH_LATER).placements[0]
    assert (gone.state, gone.retired_at) == (COMPROMISED if bad else RETIRED, MUCH_LATER)


def test_a_late_pair_never_takes_another_keys_arn(store: Store) -> None:
    three(store)
    store.keys.record_deletion("k1", HERE, LATER)
    with pytest.raises(ConcurrentModification, match="another key"):
        store.keys.record_import("k1", HERE, key_arn("k2"), LATER)
    assert not place_of(store, "k1").is_imported


# --- record_absence


def record_absence(store: Store, key_id: str, *, unable: frozenset[str] = frozenset()) -> None:
    store.keys.record_absence(place_of(store, key_id), MUCH_LATER, LEAD, unable=unable)


@pytest.mark.parametrize("key_id", ["k1", "k3"])
def test_a_pair_that_ivs_does_not_hold_is_retired_and_no_other_key_moves(store: Store, key_id: str) -> None:
    three(store)
    before, others = store.versions.read().keys.number, {"k1", "k2", "k3"} - {key_id}
    kept = {other: place_of(store, other) for other in others}
    record_absence(store, key_id)
    assert (state(store, key_id), place_of(store, key_id).retired_at) == (RETIRED, MUCH_LATER)
    assert {other: place_of(store, other) for other in others} == kept
    record_absence(store, key_id)
    assert store.versions.read().keys.number == before + 1, "again changes nothing"


@pytest.mark.parametrize(
    ("unable", "best"), [(frozenset(), "k3"), (frozenset({"k3"}), "k1"), (frozenset({"k1", "k3"}), None)]
)
def test_where_the_active_key_is_gone_the_best_that_can_sign_takes_over(
    store: Store, unable: frozenset[str], best: str | None
) -> None:
    three(store)
    store.deployment.set_max_ttl_seconds(7200)
    before = store.versions.read().keys.number
    record_absence(store, "k2", unable=unable)
    assert state(store, "k2") is RETIRED
    assert [key_id for key_id in ("k1", "k3") if state(store, key_id) is ACTIVE] == ([best] if best else [])
    assert store.versions.read().keys.number == before + 1, "no worker ever sees half of it"
    assert {place_of(store, key_id).longest_ttl_seconds for key_id in ("k1", "k3")} == {7200}
    if best != "k1":
        assert place_of(store, "k1").retiring_at == MUCH_LATER, "its drain starts anew"
    assert place_of(store, "k3").retiring_at == (None if best == "k3" else MUCH_LATER), "its drain starts"


@pytest.mark.parametrize(("key_id", "unable"), [("k1", "k1"), ("k1", "k3"), ("k3", "k3")])
def test_a_deletion_that_was_decided_before_the_drain_started_anew_is_not_begun(
    store: Store, key_id: str, unable: str
) -> None:
    three(store)
    seen = place_of(store, key_id)
    record_absence(store, "k2", unable=frozenset({unable}))
    with pytest.raises(ConcurrentModification, match="has signed"):
        store.keys.start_deletion(seen, MUCH_LATER)


def test_a_prepared_key_that_drains_may_sign_again_and_does_not_stand_in_for_another(store: Store) -> None:
    three(store)
    record_absence(store, "k2", unable=frozenset({"k3"}))
    compromise(store, "k1")
    assert (state(store, "k3"), place_of(store, "k3").retiring_at) == (ACTIVE, None)


def test_another_place_is_not_touched(store: Store) -> None:
    three(store)
    three_more = [f"k{n}" for n in (4, 5)]
    for key_id in three_more:
        samples.add_key(store, key_id, THERE)
        store.keys.activate(key_id, THERE, AT, 3600)
    kept = [place_of(store, key_id, THERE) for key_id in three_more]
    record_absence(store, "k2")
    assert [place_of(store, key_id, THERE) for key_id in three_more] == kept


def test_a_compromised_pair_that_is_gone_stays_compromised(store: Store) -> None:
    three(store)
    compromise(store, "k2")
    record_absence(store, "k2")
    assert (state(store, "k2"), place_of(store, "k2").retired_at) == (COMPROMISED, MUCH_LATER)
    assert state(store, "k3") is ACTIVE


def test_the_absence_of_a_pair_that_another_has_replaced_is_not_recorded(store: Store) -> None:
    three(store)
    seen = place_of(store, "k2")._replace(arn=key_arn("another"))
    with pytest.raises(ConcurrentModification, match="another pair"):
        store.keys.record_absence(seen, MUCH_LATER, LEAD)
    assert state(store, "k2") is ACTIVE
    with pytest.raises(KeyNotFound):
        store.keys.record_absence(seen._replace(key_id="k9"), MUCH_LATER, LEAD)
