"""Contract of `KnownWrappings`."""

from __future__ import annotations

from tokensvc.storage.store import Store
from tokensvc.vault.store import RegisteredKek

ONE = RegisteredKek("passphrase:1", b"check")
TWO = RegisteredKek("kms:2", None)


def test_the_first_key_joins_an_empty_list_only(store: Store) -> None:
    assert store.kek_registry.list() == []
    assert store.kek_registry.add(ONE, None) == [ONE]
    assert store.kek_registry.add(TWO, None) == [ONE]


def test_a_further_key_joins_beside_one_that_is_there(store: Store) -> None:
    assert store.kek_registry.add(TWO, ONE.name) == []
    store.kek_registry.add(ONE, None)
    assert store.kek_registry.add(TWO, "passphrase:9") == [ONE]
    assert store.kek_registry.add(TWO, ONE.name) == [TWO, ONE] == store.kek_registry.list()


def test_a_key_that_is_there_stays_as_it_is(store: Store) -> None:
    store.kek_registry.add(ONE, None)
    assert store.kek_registry.add(ONE._replace(check_value=b"other"), ONE.name) == [ONE]


def test_one_is_kept_and_never_none(store: Store) -> None:
    store.kek_registry.add(ONE, None)
    store.kek_registry.add(TWO, ONE.name)
    store.kek_registry.retain_only("passphrase:9")
    assert store.kek_registry.list() == [TWO, ONE]
    store.kek_registry.retain_only(TWO.name)
    assert store.kek_registry.list() == [TWO]
