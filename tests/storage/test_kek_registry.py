"""Contract of `KekRegistry`."""

from __future__ import annotations

from tests.support.audit import EVENT
from tokensvc.audit.store import AuditFilter
from tokensvc.storage.store import Store
from tokensvc.vault.store import RegisteredKek

ONE = RegisteredKek("passphrase:1", b"check")
TWO = RegisteredKek("kms:2", None)


def test_the_first_key_is_added_to_an_empty_registry_only(store: Store) -> None:
    assert store.kek_registry.list() == []
    assert store.kek_registry.add(ONE, None) == [ONE]
    assert store.kek_registry.add(TWO, None) == [ONE]


def test_another_key_is_added_if_the_given_one_is_registered(store: Store) -> None:
    assert store.kek_registry.add(TWO, ONE.name) == []
    store.kek_registry.add(ONE, None)
    assert store.kek_registry.add(TWO, "passphrase:9") == [ONE]
    assert store.kek_registry.add(TWO, ONE.name) == [TWO, ONE] == store.kek_registry.list()


def test_a_registered_key_stays_unchanged(store: Store) -> None:
    store.kek_registry.add(ONE, None)
    assert store.kek_registry.add(ONE._replace(check_value=b"other"), ONE.name) == [ONE]


def test_retain_only_never_empties_the_registry(store: Store) -> None:
    store.kek_registry.add(ONE, None)
    store.kek_registry.add(TWO, ONE.name)
    store.kek_registry.retain_only("passphrase:9", event=EVENT)
    assert store.kek_registry.list() == [TWO, ONE]
    store.kek_registry.retain_only(TWO.name, event=EVENT)
    assert store.kek_registry.list() == [TWO]


def test_forgetting_the_previous_keys_is_recorded_once(store: Store) -> None:
    store.kek_registry.add(ONE, None)
    store.kek_registry.add(TWO, ONE.name)
    for _ in range(2):
        store.kek_registry.retain_only(TWO.name, event=EVENT)
    [record] = store.audit.list(AuditFilter(), limit=9)
    assert record.event == EVENT._replace(details={"removed": ONE.name})
