"""The vault in the store, on both databases; its races are in test_races.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.keks import CIPHER
from tests.vault.vault_contract import *  # noqa: F403 - the suite's tests become this module's
from tests.vault.vault_contract import OpenVault
from tokensvc.errors import StoreUnavailable
from tokensvc.jose.keypair import PrivateKey
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.schema import private_keys
from tokensvc.storage.store import Store, open_store
from tokensvc.storage.vault import SqlVault
from tokensvc.vault.store import Vault


@pytest.fixture
def open_vault(store: Store) -> OpenVault:
    return lambda cipher: SqlVault(store.engine, cipher)


def test_a_row_has_text_that_openssl_can_read(vault: Vault, store: Store, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    with read_transaction(store.engine) as connection:
        text = connection.execute(sa.select(private_keys.c.wrapped)).scalar_one()
    assert text.splitlines()[:3] == [f"Wrapped-By: {CIPHER.current}", "", "-----BEGIN ENCRYPTED PRIVATE KEY-----"]


def test_every_machine_of_the_deployment_can_read_a_key(vault: Vault, store_url: str, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    elsewhere = open_store(store_url)
    assert SqlVault(elsewhere.engine, CIPHER).load("k1").private_numbers() == private_key.private_numbers()
    elsewhere.close()


def test_an_unavailable_store_is_not_reported_as_a_missing_key(sqlite_url: str, private_key: PrivateKey) -> None:
    store = open_store(sqlite_url)
    vault = SqlVault(store.engine, CIPHER)
    vault.put("k1", private_key)
    store.close()
    Path(sqlite_url.removeprefix("sqlite:///")).unlink()
    with pytest.raises(StoreUnavailable):
        vault.load("k1")
