"""What every vault promises. A test module of an implementation gives the fixture `vault_under`, which makes a vault on
one and the same place under any wrapping keys, and imports these."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.keks import NEW, OLD, CIPHER, FakeKms, passphrase
from tokensvc.errors import PrivateKeyMissing, VaultError, WrappingKeyUnavailable, WrappingKeyUnknown
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey, public_der
from tokensvc.vault import envelope
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.store import Vault

VaultUnder = Callable[[SecretCipher], Vault]


@pytest.fixture
def vault(vault_under: VaultUnder) -> Vault:
    """A vault under one passphrase."""
    return vault_under(CIPHER)


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
    acts: list[Callable[[], object]] = [
        lambda: vault.put(key_id, private_key),
        lambda: vault.open(key_id),
        lambda: vault.remove(key_id),
        lambda: vault.read_envelope(key_id),
        lambda: vault.replace(key_id, b"", b""),
    ]
    for act in acts:
        with pytest.raises(VaultError):
            act()
    assert vault.key_ids() == frozenset()


def test_a_key_rests_encrypted_and_names_its_wrapping_key(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    rests = vault.read_envelope("k1")
    found = envelope.read(rests)
    assert found.kek_name == CIPHER.current
    assert found.body.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert OLD.encode() not in rests
    with pytest.raises(PrivateKeyMissing):
        vault.read_envelope("k2")


@pytest.mark.parametrize("kind", ["a passphrase", "data keys"])
def test_what_an_earlier_wrapping_key_wrapped_is_opened_while_it_is_given(
    vault_under: VaultUnder, private_key: PrivateKey, kind: str
) -> None:
    earlier, current = (passphrase() if kind == "a passphrase" else FakeKms()), passphrase(NEW)
    vault_under(SecretCipher(earlier)).put("k1", private_key)
    both = vault_under(SecretCipher(current, earlier))
    assert both.open("k1").private_numbers() == private_key.private_numbers()
    both.put("k2", private_key)
    assert vault_under(SecretCipher(current)).open("k2").private_numbers() == private_key.private_numbers()
    with pytest.raises(WrappingKeyUnknown, match=f"wrapped by {earlier.name}, and the settings give {current.name}"):
        vault_under(SecretCipher(current)).open("k1")


def test_a_wrapping_key_that_does_not_answer_keeps_and_opens_nothing(
    vault_under: VaultUnder, private_key: PrivateKey
) -> None:
    key = FakeKms()
    vault = vault_under(SecretCipher(key))
    vault.put("k1", private_key)
    key.away = True
    with pytest.raises(WrappingKeyUnavailable):
        vault.open("k1")
    with pytest.raises(WrappingKeyUnavailable):
        vault.put("k2", private_key)
    assert vault.key_ids() == {"k1"}


def test_an_envelope_takes_the_place_of_the_one_that_was_seen_and_of_no_other(
    vault: Vault, private_key: PrivateKey
) -> None:
    vault.put("k1", private_key)
    seen, anew = vault.read_envelope("k1"), CIPHER.encrypt_key(private_key)
    assert not vault.replace("k1", anew, b"never")
    assert not vault.replace("k1", seen[:-1], b"never")
    assert not vault.replace("k2", seen, b"never")
    assert vault.read_envelope("k1") == seen
    assert vault.replace("k1", seen, anew)
    assert vault.read_envelope("k1") == anew != seen
    assert not vault.replace("k1", seen, b"never"), "it is not what was seen any more"
    assert vault.open("k1").private_numbers() == private_key.private_numbers()
    assert vault.key_ids() == {"k1"}


def test_what_was_removed_is_not_brought_back_by_a_replacement(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    seen = vault.read_envelope("k1")
    vault.remove("k1")
    assert not vault.replace("k1", seen, seen)
    assert vault.key_ids() == frozenset()
