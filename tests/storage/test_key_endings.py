"""Contract of `KeyStore` for the end of keys: deletions, compromises, stray imports and absences."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.storage import samples
from tests.storage.samples import AT, HERE, LATER, THERE, key_arn
from tests.support.audit import EVENT
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import ConcurrentModification, KeyNotFound
from tokensvc.keys.lifecycle import KeyPlacement, KeyState, require_key
from tokensvc.storage.store import Store

pytestmark = pytest.mark.long

PREPARED, ACTIVE, RETIRING, RETIRED, COMPROMISED = KeyState
PROPAGATION_SECONDS = 30.0
MUCH_LATER = LATER + timedelta(hours=1)


def placement_of(store: Store, key_id: str, account_region: AccountRegion = HERE) -> KeyPlacement:
    """The placement of a key."""
    return next(
        placement
        for placement in require_key(store.keys.list(), key_id).placements
        if placement.account_region == account_region
    )


def state(store: Store, key_id: str, account_region: AccountRegion = HERE) -> KeyState:
    return placement_of(store, key_id, account_region).state


def compromise(
    store: Store, key_id: str, *, include_standby: bool = False, unable: frozenset[str] = frozenset()
) -> None:
    store.keys.compromise(
        key_id, LATER, PROPAGATION_SECONDS, include_standby=include_standby, unable=unable, event=EVENT
    )


def add_three_keys(store: Store, account_region: AccountRegion = HERE) -> None:
    """Add k1 (retiring), k2 (active) and k3 (prepared)."""
    for key_id in ("k1", "k2", "k3"):
        samples.add_key(store, key_id, account_region)
    store.keys.activate("k1", account_region, AT, 3600)
    store.keys.activate("k2", account_region, AT + timedelta(minutes=1), 3600)


# --- start_deletion


@pytest.mark.parametrize("key_id", ["k1", "k3"])
def test_the_start_of_a_deletion_is_recorded_once(store: Store, key_id: str) -> None:
    add_three_keys(store)
    placement_seen = placement_of(store, key_id)
    before = store.versions.read().keys.number
    started = store.keys.start_deletion(placement_seen, LATER)
    assert started.placements == (placement_seen._replace(deleting_at=LATER),)
    assert store.keys.start_deletion(placement_seen, MUCH_LATER) == started
    assert store.versions.read().keys.number == before + 1


def test_a_key_that_is_being_deleted_never_becomes_active(store: Store) -> None:
    add_three_keys(store)
    store.keys.start_deletion(placement_of(store, "k3"), LATER)
    with pytest.raises(ConcurrentModification, match="cannot be reactivated"):
        store.keys.activate("k3", HERE, LATER, 3600)
    store.keys.start_deletion(placement_of(store, "k1"), LATER)
    compromise(store, "k2")
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [RETIRING, COMPROMISED, PREPARED]


def test_the_deletion_of_an_active_key_is_refused(store: Store) -> None:
    add_three_keys(store)
    placement_seen = placement_of(store, "k3")
    store.keys.activate("k3", HERE, LATER, 3600)
    for stale in (placement_seen, placement_of(store, "k3")):
        with pytest.raises(ConcurrentModification, match="has signed"):
            store.keys.start_deletion(stale, LATER)
    assert placement_of(store, "k3").deleting_at is None


def test_a_deletion_decided_before_a_reactivation_is_refused(store: Store) -> None:
    """The key had drained, was reactivated by a compromise and is retiring again: its new tokens are still valid."""
    add_three_keys(store)
    drained, standby = placement_of(store, "k1"), placement_of(store, "k3")
    store.keys.start_deletion(standby, AT)
    compromise(store, "k2")
    assert state(store, "k1") is ACTIVE
    samples.add_key(store, "k4", HERE)
    store.keys.activate("k4", HERE, MUCH_LATER, 3600)
    assert state(store, "k1") is RETIRING
    with pytest.raises(ConcurrentModification, match="has signed"):
        store.keys.start_deletion(drained, MUCH_LATER)
    assert store.keys.start_deletion(placement_of(store, "k1"), MUCH_LATER).placements[0].deleting_at == MUCH_LATER


def test_a_deletion_decided_before_a_compromise_is_started(store: Store) -> None:
    add_three_keys(store)
    placement_seen = [placement_of(store, key_id) for key_id in ("k1", "k3")]
    for key_id in ("k1", "k3"):
        compromise(store, key_id)
    assert all(store.keys.start_deletion(placement, LATER) for placement in placement_seen)


def test_a_key_that_was_never_imported_is_not_deleted(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    with pytest.raises(ConcurrentModification, match="never imported in eu-west-1"):
        store.keys.start_deletion(placement_of(store, "k1")._replace(account_region=THERE), AT)
    with pytest.raises(KeyNotFound):
        store.keys.start_deletion(placement_of(store, "k1")._replace(key_id="k9"), AT)


# --- compromise


def test_the_standby_key_takes_over_in_the_same_transaction(store: Store) -> None:
    add_three_keys(store)
    before = store.versions.read().keys.number
    compromise(store, "k2")
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [RETIRING, COMPROMISED, ACTIVE]
    assert placement_of(store, "k2").compromised_at == require_key(store.keys.list(), "k2").compromised_at == LATER
    assert placement_of(store, "k3").activated_at == LATER
    assert store.versions.read().keys.number == before + 1, "one change, so no worker sees a part of it"


def test_without_a_standby_key_the_retiring_key_is_reactivated(store: Store) -> None:
    add_three_keys(store)
    previous = placement_of(store, "k1")
    compromise(store, "k2", unable=frozenset({"k3"}))
    assert placement_of(store, "k1") == previous._replace(state=ACTIVE), (
        "it keeps retiring_at, which marks it as temporary"
    )
    assert state(store, "k3") is PREPARED


def test_no_key_takes_over_if_all_others_are_unable(store: Store) -> None:
    add_three_keys(store)
    compromise(store, "k2", unable=frozenset({"k1", "k3"}))
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [RETIRING, COMPROMISED, PREPARED]


def test_a_standby_key_does_not_take_over_before_its_propagation_delay(store: Store) -> None:
    add_three_keys(store)
    at = AT + timedelta(seconds=PROPAGATION_SECONDS - 1)
    store.keys.compromise("k2", at, PROPAGATION_SECONDS, include_standby=False, event=EVENT)
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [ACTIVE, COMPROMISED, PREPARED]


@pytest.mark.parametrize(
    ("max_ttl", "unable", "key_id", "longest_ttl"), [(7200, "k1", "k3", 7200), (60, "k3", "k1", 3600)]
)
def test_the_successors_longest_ttl_rises_to_the_max_ttl_and_never_falls(
    store: Store, max_ttl: int, unable: str, key_id: str, longest_ttl: int
) -> None:
    add_three_keys(store)
    store.deployment.set_max_ttl_seconds(max_ttl, event=EVENT)
    compromise(store, "k2", unable=frozenset({unable}))
    placement = placement_of(store, key_id)
    assert (placement.state, placement.longest_ttl_seconds) == (ACTIVE, longest_ttl)


@pytest.mark.parametrize(("key_id", "previous"), [("k1", RETIRING), ("k3", PREPARED)])
def test_the_active_key_stays_active_when_another_is_compromised(store: Store, key_id: str, previous: KeyState) -> None:
    add_three_keys(store)
    assert state(store, key_id) is previous
    compromise(store, key_id)
    assert (state(store, key_id), state(store, "k2")) == (COMPROMISED, ACTIVE)


def test_each_account_and_region_gets_its_own_successor(store: Store) -> None:
    add_three_keys(store)
    for key_id in ("k1", "k2"):
        store.keys.record_import(key_id, THERE, key_arn(key_id, THERE), AT)
    store.keys.activate("k2", THERE, AT, 3600)
    compromise(store, "k2")
    assert (state(store, "k2", HERE), state(store, "k2", THERE)) == (COMPROMISED, COMPROMISED)
    assert (state(store, "k3", HERE), state(store, "k1", THERE)) == (ACTIVE, ACTIVE)


def test_include_standby_compromises_all_keys_that_never_signed(store: Store) -> None:
    add_three_keys(store)
    samples.add_key(store, "k4")
    compromise(store, "k2", include_standby=True)
    assert [state(store, f"k{n}") for n in (1, 2, 3)] == [ACTIVE, COMPROMISED, COMPROMISED]
    assert [key.compromised_at for key in store.keys.list()] == [None, LATER, LATER, LATER]


def test_a_repeated_compromise_changes_nothing(store: Store) -> None:
    add_three_keys(store)
    compromise(store, "k2")
    after, number = store.keys.list(), store.versions.read().keys.number
    store.keys.compromise("k2", MUCH_LATER, PROPAGATION_SECONDS, include_standby=False, event=EVENT)
    assert (store.keys.list(), store.versions.read().keys.number) == (after, number)


def test_an_unknown_key_is_not_compromised(store: Store) -> None:
    with pytest.raises(KeyNotFound):
        compromise(store, "k1")


def test_a_compromised_key_stays_compromised_after_its_deletion(store: Store) -> None:
    add_three_keys(store)
    compromise(store, "k2")
    with pytest.raises(ConcurrentModification, match="compromised"):
        store.keys.activate("k2", HERE, LATER, 3600)
    gone = store.keys.record_deletion("k2", HERE, MUCH_LATER)
    assert (gone.placements[0].state, gone.placements[0].retired_at) == (COMPROMISED, MUCH_LATER)
    assert store.keys.record_deletion("k2", HERE, MUCH_LATER + timedelta(hours=1)) == gone


def test_a_retired_key_can_be_compromised(store: Store) -> None:
    add_three_keys(store)
    store.keys.record_deletion("k1", HERE, LATER)
    compromise(store, "k1")
    assert (state(store, "k1"), state(store, "k2")) == (COMPROMISED, ACTIVE)


# --- late imports


def test_the_import_of_a_compromised_key_is_compromised(store: Store) -> None:
    samples.add_key(store, "k1")
    compromise(store, "k1")
    imported = store.keys.record_import("k1", HERE, key_arn("k1"), MUCH_LATER).placements[0]
    assert (imported.state, imported.compromised_at, imported.is_imported) == (COMPROMISED, LATER, True)


def test_a_differing_fingerprint_is_stored_with_the_import(store: Store) -> None:
    samples.add_key(store, "k1")
    store.keys.record_import("k1", HERE, key_arn("k1"), AT, fingerprint_differs=True)
    assert placement_of(store, "k1").fingerprint_differs


def test_an_import_that_may_have_signed_gets_the_max_ttl(store: Store) -> None:
    """Or the lifetime of tokens signed elsewhere, if it is longer. Recording the import again changes nothing."""
    samples.add_key(store, "k1")
    longer = store.keys.add("k2", "00:02", b"another", AT, 90_000)
    max_ttl = store.deployment.read().max_ttl_seconds
    for key_id, seconds in (("k1", max_ttl), (longer.id, 90_000)):
        store.keys.record_import(key_id, HERE, key_arn(key_id), AT, may_have_signed=True)
        assert placement_of(store, key_id).longest_ttl_seconds == seconds
    before = store.keys.list()
    store.deployment.set_max_ttl_seconds(60, event=EVENT)
    store.keys.record_import("k1", HERE, key_arn("k1"), LATER, may_have_signed=True)
    assert store.keys.list() == before


@pytest.mark.parametrize("is_compromised", [False, True])
def test_a_stray_import_of_a_deleted_key_is_marked_for_deletion(store: Store, is_compromised: bool) -> None:
    add_three_keys(store)
    if is_compromised:
        compromise(store, "k1")
    store.keys.record_deletion("k1", HERE, LATER)
    previous = placement_of(store, "k1")
    stray = store.keys.record_import("k1", HERE, key_arn("stray"), MUCH_LATER).placements[0]
    assert stray == previous._replace(
        arn=key_arn("stray"), imported_at=MUCH_LATER, deleting_at=MUCH_LATER, retired_at=None
    )
    with pytest.raises(ConcurrentModification):
        store.keys.activate("k1", HERE, MUCH_LATER, 3600)
    store.keys.start_deletion(stray, MUCH_LATER)
    gone = store.keys.record_deletion("k1", HERE, MUCH_LATER).placements[0]
    assert (gone.state, gone.retired_at) == (COMPROMISED if is_compromised else RETIRED, MUCH_LATER)


def test_a_stray_import_never_takes_the_arn_of_another_key(store: Store) -> None:
    add_three_keys(store)
    store.keys.record_deletion("k1", HERE, LATER)
    with pytest.raises(ConcurrentModification, match="another key"):
        store.keys.record_import("k1", HERE, key_arn("k2"), LATER)
    assert not placement_of(store, "k1").is_imported


# --- record_absence


def record_absence(store: Store, key_id: str, *, unable: frozenset[str] = frozenset()) -> None:
    store.keys.record_absence(placement_of(store, key_id), MUCH_LATER, PROPAGATION_SECONDS, unable=unable)


@pytest.mark.parametrize("key_id", ["k1", "k3"])
def test_an_absent_pair_is_retired_and_other_keys_stay(store: Store, key_id: str) -> None:
    add_three_keys(store)
    before, others = store.versions.read().keys.number, {"k1", "k2", "k3"} - {key_id}
    unchanged = {other: placement_of(store, other) for other in others}
    record_absence(store, key_id)
    assert (state(store, key_id), placement_of(store, key_id).retired_at) == (RETIRED, MUCH_LATER)
    assert {other: placement_of(store, other) for other in others} == unchanged
    record_absence(store, key_id)
    assert store.versions.read().keys.number == before + 1, "the second call changes nothing"


@pytest.mark.parametrize(
    ("unable", "best"), [(frozenset(), "k3"), (frozenset({"k3"}), "k1"), (frozenset({"k1", "k3"}), None)]
)
def test_the_best_usable_key_replaces_an_absent_active_key(
    store: Store, unable: frozenset[str], best: str | None
) -> None:
    add_three_keys(store)
    store.deployment.set_max_ttl_seconds(7200, event=EVENT)
    before = store.versions.read().keys.number
    record_absence(store, "k2", unable=unable)
    assert state(store, "k2") is RETIRED
    assert [key_id for key_id in ("k1", "k3") if state(store, key_id) is ACTIVE] == ([best] if best else [])
    assert store.versions.read().keys.number == before + 1, "one change, so no worker sees a part of it"
    assert {placement_of(store, key_id).longest_ttl_seconds for key_id in ("k1", "k3")} == {7200}
    if best != "k1":
        assert placement_of(store, "k1").retiring_at == MUCH_LATER, "its drain starts again"
    assert placement_of(store, "k3").retiring_at == (None if best == "k3" else MUCH_LATER), "its drain starts"


@pytest.mark.parametrize(("key_id", "unable"), [("k1", "k1"), ("k1", "k3"), ("k3", "k3")])
def test_a_deletion_decided_before_a_new_drain_is_refused(store: Store, key_id: str, unable: str) -> None:
    add_three_keys(store)
    placement_seen = placement_of(store, key_id)
    record_absence(store, "k2", unable=frozenset({unable}))
    with pytest.raises(ConcurrentModification, match="has signed"):
        store.keys.start_deletion(placement_seen, MUCH_LATER)


def test_a_draining_prepared_key_becomes_active_permanently(store: Store) -> None:
    add_three_keys(store)
    record_absence(store, "k2", unable=frozenset({"k3"}))
    compromise(store, "k1")
    assert (state(store, "k3"), placement_of(store, "k3").retiring_at) == (ACTIVE, None)


def test_other_regions_are_not_changed(store: Store) -> None:
    add_three_keys(store)
    other_keys = [f"k{n}" for n in (4, 5)]
    for key_id in other_keys:
        samples.add_key(store, key_id, THERE)
        store.keys.activate(key_id, THERE, AT, 3600)
    unchanged = [placement_of(store, key_id, THERE) for key_id in other_keys]
    record_absence(store, "k2")
    assert [placement_of(store, key_id, THERE) for key_id in other_keys] == unchanged


def test_an_absent_compromised_key_stays_compromised(store: Store) -> None:
    add_three_keys(store)
    compromise(store, "k2")
    record_absence(store, "k2")
    assert (state(store, "k2"), placement_of(store, "k2").retired_at) == (COMPROMISED, MUCH_LATER)
    assert state(store, "k3") is ACTIVE


def test_the_absence_of_a_replaced_pair_is_not_recorded(store: Store) -> None:
    add_three_keys(store)
    placement_seen = placement_of(store, "k2")._replace(arn=key_arn("another"))
    with pytest.raises(ConcurrentModification, match="another pair"):
        store.keys.record_absence(placement_seen, MUCH_LATER, PROPAGATION_SECONDS)
    assert state(store, "k2") is ACTIVE
    with pytest.raises(KeyNotFound):
        store.keys.record_absence(placement_seen._replace(key_id="k9"), MUCH_LATER, PROPAGATION_SECONDS)
