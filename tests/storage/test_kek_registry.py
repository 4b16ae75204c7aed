"""Contract of `KnownWrappings`."""

from __future__ import annotations

from tokensvc.storage.store import Store
from tokensvc.vault.kek_registry import RegisteredKek

ONE = RegisteredKek("passphrase:1", b"check")
TWO = RegisteredKek("kms:2", None)


def test_the_first_key_joins_an_empty_list_only(store: Store) -> None:
    assert store.wrappings.list() == []
    assert store.wrappings.add(ONE, None) == [ONE]
    assert store.wrappings.add(TWO, None) == [ONE]


def test_a_further_key_joins_beside_one_that_is_there(store: Store) -> None:
    assert store.wrappings.add(TWO, ONE.name) == []
    store.wrappings.add(ONE, None)
    assert store.wrappings.add(TWO, "passphrase:9") == [ONE]
    assert store.wrappings.add(TWO, ONE.name) == [TWO, ONE] == store.wrappings.list()


def test_a_key_that_is_there_stays_as_it_is(store: Store) -> None:
    store.wrappings.add(ONE, None)
    assert store.wrappings.add(ONE._replace(check=b"other"), ONE.name) == [ONE]


def test_one_is_kept_and_never_none(store: Store) -> None:
    store.wrappings.add(ONE, None)
    store.wrappings.add(TWO, ONE.name)
    store.wrappings.keep_only("passphrase:9")
    assert store.wrappings.list() == [TWO, ONE]
    store.wrappings.keep_only(TWO.name)
    assert store.wrappings.list() == [TWO]
