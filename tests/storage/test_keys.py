"""Contract of `KeyStore`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.storage import samples
from tests.storage.query_counts import counted
from tests.storage.samples import AT, HERE, LATER, THERE, key_arn
from tests.support.audit import EVENT
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import ConcurrentModification, Conflict, KeyNotFound
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord, KeyState, require_key
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow


def state(store: Store, key_id: str, account_region: AccountRegion = HERE) -> KeyState:
    """The state of a key."""
    return next(
        placement.state
        for placement in require_key(store.keys.list(), key_id).placements
        if placement.account_region == account_region
    )


def test_a_new_key_has_no_placement(store: Store) -> None:
    added = store.keys.add("k1", "fi:ng:er", b"public", AT)
    assert added == KeyRecord("k1", "fi:ng:er", b"public", AT, ())
    assert require_key(store.keys.list(), "k1") == added
    assert store.keys.list() == [added]


@pytest.mark.parametrize(("key_id", "public"), [("k1", b"another"), ("k2", b"public")])
def test_an_id_and_a_public_key_are_used_once(store: Store, key_id: str, public: bytes) -> None:
    store.keys.add("k1", "fi:ng:er", b"public", AT)
    with pytest.raises(Conflict):
        store.keys.add(key_id, "fi:ng:er", public, AT)
    assert len(store.keys.list()) == 1


def test_the_longest_ttl_elsewhere_counts_everywhere_and_never_falls(store: Store) -> None:
    store.keys.add("k1", "fi:ng:er", b"public", AT, longest_ttl_seconds=9000)
    store.keys.record_import("k1", HERE, key_arn("k1", HERE), AT)
    before = store.versions.read().keys.number
    store.keys.add("k1", "fi:ng:er", b"public", LATER, longest_ttl_seconds=600)
    assert store.versions.read().keys.number == before, "a shorter lifetime changes nothing"
    store.keys.add("k1", "fi:ng:er", b"public", LATER, longest_ttl_seconds=10_000)
    store.keys.record_import("k1", THERE, key_arn("k1", THERE), AT)
    again = require_key(store.keys.list(), "k1")
    assert again.created_at == AT
    assert [placement.longest_ttl_seconds for placement in again.placements] == [10_000, 10_000]
    assert store.keys.activate("k1", HERE, LATER, 3600).placements[1].longest_ttl_seconds == 10_000


def test_keys_are_listed_oldest_first(store: Store) -> None:
    for key_id, hours in (("k3", 2), ("k1", 3), ("k2", 1)):
        store.keys.add(key_id, "", key_id.encode(), AT + timedelta(hours=hours))
    assert [key.id for key in store.keys.list()] == ["k2", "k3", "k1"]


def test_listing_takes_two_queries(store: Store) -> None:
    for number in range(10):
        samples.add_key(store, f"k{number}", HERE, THERE)
    with counted(store.engine) as queries:
        assert [len(key.placements) for key in store.keys.list()] == [2] * 10
    assert len(queries) == 2


def test_an_unknown_key_is_not_found(store: Store) -> None:
    with pytest.raises(KeyNotFound):
        require_key(store.keys.list(), "k1")
    with pytest.raises(KeyNotFound):
        store.keys.record_import("k1", HERE, key_arn("k1"), AT)
    with pytest.raises(KeyNotFound):
        store.keys.activate("k1", HERE, AT, 3600)
    with pytest.raises(KeyNotFound):
        store.keys.record_deletion("k1", HERE, AT)


def test_an_imported_key_is_prepared_there(store: Store) -> None:
    samples.add_key(store, "k1")
    imported = store.keys.record_import("k1", HERE, key_arn("k1"), LATER)
    assert imported.placements == (
        KeyPlacement("k1", HERE, KeyState.PREPARED, key_arn("k1"), LATER, None, None, None, longest_ttl_seconds=0),
    )


def test_recording_an_import_again_changes_nothing(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    before = require_key(store.keys.list(), "k1")
    assert store.keys.record_import("k1", HERE, key_arn("k1"), LATER) == before


def test_a_second_arn_in_the_same_region_is_refused(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    with pytest.raises(ConcurrentModification):
        store.keys.record_import("k1", HERE, key_arn("another"), LATER)


def test_an_arn_belongs_to_one_key(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    samples.add_key(store, "k2")
    with pytest.raises(ConcurrentModification):
        store.keys.record_import("k2", HERE, key_arn("k1"), LATER)


def test_the_first_key_becomes_active(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    active = store.keys.activate("k1", HERE, LATER, 7200).placements[0]
    assert (active.state, active.activated_at, active.longest_ttl_seconds) == (KeyState.ACTIVE, LATER, 7200)


def test_activation_makes_the_previous_key_retiring(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    samples.add_key(store, "k2", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    store.keys.activate("k2", HERE, LATER, 3600)
    previous = require_key(store.keys.list(), "k1").placements[0]
    assert (previous.state, previous.activated_at, previous.retiring_at) == (KeyState.RETIRING, AT, LATER)
    assert state(store, "k2") is KeyState.ACTIVE


def test_regions_are_independent(store: Store) -> None:
    """A region without a new key delays only itself."""
    samples.add_key(store, "k1", HERE, THERE)
    samples.add_key(store, "k2", HERE, THERE)
    store.keys.activate("k1", HERE, AT, 3600)
    store.keys.activate("k1", THERE, AT, 3600)
    store.keys.activate("k2", THERE, LATER, 3600)
    assert (state(store, "k1", HERE), state(store, "k2", HERE)) == (KeyState.ACTIVE, KeyState.PREPARED)
    assert (state(store, "k1", THERE), state(store, "k2", THERE)) == (KeyState.RETIRING, KeyState.ACTIVE)


def test_activating_again_changes_only_a_longer_ttl(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    before = store.keys.activate("k1", HERE, AT, 7200)
    assert store.keys.activate("k1", HERE, LATER, 3600) == before
    longer = store.keys.activate("k1", HERE, LATER, 10_000).placements[0]
    assert longer == before.placements[0]._replace(longest_ttl_seconds=10_000)


@pytest.mark.parametrize("temporary", [True, False])
def test_a_retiring_key_is_reactivated_only_with_its_retiring_time(store: Store, temporary: bool) -> None:
    samples.add_key(store, "k1", HERE)
    samples.add_key(store, "k2", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    store.keys.activate("k2", HERE, LATER, 3600)
    with pytest.raises(ConcurrentModification, match="cannot be reactivated"):
        store.keys.activate("k1", HERE, LATER, 3600, retiring_since=AT)
    assert state(store, "k2") is KeyState.ACTIVE
    store.deployment.set_max_ttl_seconds(7200, event=EVENT)
    again = store.keys.activate("k1", HERE, LATER, 60, retiring_since=LATER, temporary=temporary).placements[0]
    assert (again.state, again.activated_at, again.longest_ttl_seconds) == (KeyState.ACTIVE, LATER, 7200)
    assert again.retiring_at == (LATER if temporary else None)
    assert state(store, "k2") is KeyState.RETIRING


def test_only_a_prepared_key_becomes_active(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    samples.add_key(store, "k2", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    store.keys.activate("k2", HERE, AT, 3600)
    with pytest.raises(ConcurrentModification, match="retiring"):
        store.keys.activate("k1", HERE, LATER, 3600)
    assert state(store, "k2") is KeyState.ACTIVE, "a refused activation changes no other key"
    store.keys.record_deletion("k1", HERE, LATER)
    with pytest.raises(ConcurrentModification, match="retired"):
        store.keys.activate("k1", HERE, LATER, 3600)
    with pytest.raises(ConcurrentModification, match="never imported in eu-west-1"):
        store.keys.activate("k1", THERE, LATER, 3600)


def test_an_active_key_is_not_deleted(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    with pytest.raises(ConcurrentModification, match="active"):
        store.keys.record_deletion("k1", HERE, LATER)
    with pytest.raises(ConcurrentModification, match="never imported in eu-west-1"):
        store.keys.record_deletion("k1", THERE, LATER)


def test_a_deletion_is_recorded_once(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    samples.add_key(store, "k2", HERE)
    samples.add_key(store, "k3", HERE)
    store.keys.activate("k1", HERE, AT, 3600)
    store.keys.activate("k2", HERE, AT, 3600)
    for key_id in ("k1", "k3"):
        retired = store.keys.record_deletion(key_id, HERE, LATER)
        assert (retired.placements[0].state, retired.placements[0].retired_at) == (KeyState.RETIRED, LATER)
        assert store.keys.record_deletion(key_id, HERE, LATER + timedelta(hours=1)) == retired


def test_a_record_without_placements_is_discarded(store: Store) -> None:
    samples.add_key(store, "k1")
    store.keys.discard("k1", event=EVENT)
    store.keys.discard("k1", event=EVENT)
    assert store.keys.list() == []


def test_a_record_with_a_placement_is_not_discarded(store: Store) -> None:
    samples.add_key(store, "k1", HERE)
    with pytest.raises(ConcurrentModification):
        store.keys.discard("k1", event=EVENT)
    store.keys.record_deletion("k1", HERE, AT)
    with pytest.raises(ConcurrentModification):
        store.keys.discard("k1", event=EVENT)
