"""What every vault promises. A test module of an implementation gives the fixture `vault` and imports these."""

from __future__ import annotations

import pytest

from tokensvc.core import keypair
from tokensvc.core.keypair import PrivateKey, public_der
from tokensvc.errors import PrivateKeyMissing, VaultError
from tokensvc.ports.vault import Vault


def test_a_key_is_opened_as_it_was_put(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    assert vault.open("k1").private_numbers() == private_key.private_numbers()
    assert vault.key_ids() == {"k1"}


def test_each_key_has_a_place_of_its_own(vault: Vault, private_key: PrivateKey) -> None:
    other = keypair.generate()
    vault.put("k1", private_key)
    vault.put("k2", other)
    assert public_der(vault.open("k2").public_key()) == public_der(other.public_key())
    vault.remove("k1")
    assert vault.key_ids() == {"k2"}


def test_no_key_is_ever_overwritten(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    with pytest.raises(VaultError, match="not overwritten"):
        vault.put("k1", keypair.generate())
    with pytest.raises(VaultError):
        vault.put("k1", private_key)
    assert vault.open("k1").private_numbers() == private_key.private_numbers()


def test_a_missing_key_is_missing(vault: Vault) -> None:
    assert vault.key_ids() == frozenset()
    with pytest.raises(PrivateKeyMissing):
        vault.open("k1")


def test_removing_is_final_and_removing_nothing_is_nothing(vault: Vault, private_key: PrivateKey) -> None:
    vault.remove("k1")
    vault.put("k1", private_key)
    vault.remove("k1")
    vault.remove("k1")
    assert vault.key_ids() == frozenset()
    with pytest.raises(PrivateKeyMissing):
        vault.open("k1")
    vault.put("k1", keypair.generate())


@pytest.mark.parametrize(
    "key_id", ["", ".", "..", "../k1", "a/b", "K1", "k 1", "k1\n", "k1\0", "k" * 65, ".k1", "k1.pem"]
)
def test_only_the_form_of_our_ids_is_taken(vault: Vault, private_key: PrivateKey, key_id: str) -> None:
    for act in (lambda: vault.put(key_id, private_key), lambda: vault.open(key_id), lambda: vault.remove(key_id)):
        with pytest.raises(VaultError):
            act()
    assert vault.key_ids() == frozenset()
