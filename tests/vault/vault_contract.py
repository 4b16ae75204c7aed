"""The contract of `Vault`. The test module of an implementation imports these tests and defines the fixture
`open_vault`, which opens the same vault with any wrapping keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.keks import CIPHER, NEW, OLD, FakeKms, passphrase
from tokensvc.errors import PrivateKeyMissing, VaultError, WrappingKeyUnavailable, WrappingKeyUnknown
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey, public_der
from tokensvc.vault import envelope
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.store import Vault

OpenVault = Callable[[SecretCipher], Vault]


@pytest.fixture
def vault(open_vault: OpenVault) -> Vault:
    """A vault with one passphrase."""
    return open_vault(CIPHER)


def test_a_stored_key_is_read_back(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    assert vault.load("k1").private_numbers() == private_key.private_numbers()
    assert vault.key_ids() == {"k1"}


def test_keys_are_stored_independently(vault: Vault, private_key: PrivateKey) -> None:
    other = keypair.generate()
    vault.put("k1", private_key)
    vault.put("k2", other)
    assert public_der(vault.load("k2").public_key()) == public_der(other.public_key())
    vault.remove("k1")
    assert vault.key_ids() == {"k2"}


def test_no_key_is_overwritten(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    with pytest.raises(VaultError, match="not overwritten"):
        vault.put("k1", keypair.generate())
    with pytest.raises(VaultError):
        vault.put("k1", private_key)
    assert vault.load("k1").private_numbers() == private_key.private_numbers()


def test_a_missing_key_is_reported(vault: Vault) -> None:
    assert vault.key_ids() == frozenset()
    with pytest.raises(PrivateKeyMissing):
        vault.load("k1")


def test_removal_is_final_and_may_be_repeated(vault: Vault, private_key: PrivateKey) -> None:
    vault.remove("k1")
    vault.put("k1", private_key)
    vault.remove("k1")
    vault.remove("k1")
    assert vault.key_ids() == frozenset()
    with pytest.raises(PrivateKeyMissing):
        vault.load("k1")
    vault.put("k1", keypair.generate())


@pytest.mark.parametrize(
    "key_id", ["", ".", "..", "../k1", "a/b", "K1", "k 1", "k1\n", "k1\0", "k" * 65, ".k1", "k1.pem"]
)
def test_invalid_key_ids_are_rejected(vault: Vault, private_key: PrivateKey, key_id: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: vault.put(key_id, private_key),
        lambda: vault.load(key_id),
        lambda: vault.remove(key_id),
        lambda: vault.read_envelope(key_id),
        lambda: vault.replace(key_id, b"", b""),
    ]
    for operation in operations:
        with pytest.raises(VaultError):
            operation()
    assert vault.key_ids() == frozenset()


def test_a_stored_key_is_encrypted_and_names_its_kek(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    stored = vault.read_envelope("k1")
    parsed = envelope.read(stored)
    assert parsed.kek_name == CIPHER.current
    assert parsed.body.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert OLD.encode() not in stored
    with pytest.raises(PrivateKeyMissing):
        vault.read_envelope("k2")


@pytest.mark.parametrize("kind", ["a passphrase", "data keys"])
def test_a_previous_kek_decrypts_while_it_is_configured(
    open_vault: OpenVault, private_key: PrivateKey, kind: str
) -> None:
    earlier, current = (passphrase() if kind == "a passphrase" else FakeKms()), passphrase(NEW)
    open_vault(SecretCipher(earlier)).put("k1", private_key)
    both = open_vault(SecretCipher(current, earlier))
    assert both.load("k1").private_numbers() == private_key.private_numbers()
    both.put("k2", private_key)
    assert open_vault(SecretCipher(current)).load("k2").private_numbers() == private_key.private_numbers()
    with pytest.raises(
        WrappingKeyUnknown, match=f"encrypted with {earlier.name}, and only {current.name} is configured"
    ):
        open_vault(SecretCipher(current)).load("k1")


def test_without_its_kek_a_vault_stores_and_reads_nothing(open_vault: OpenVault, private_key: PrivateKey) -> None:
    key = FakeKms()
    vault = open_vault(SecretCipher(key))
    vault.put("k1", private_key)
    key.unavailable = True
    with pytest.raises(WrappingKeyUnavailable):
        vault.load("k1")
    with pytest.raises(WrappingKeyUnavailable):
        vault.put("k2", private_key)
    assert vault.key_ids() == {"k1"}


def test_only_the_expected_envelope_is_replaced(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    before, rewrapped = vault.read_envelope("k1"), CIPHER.encrypt_key(private_key)
    assert not vault.replace("k1", rewrapped, b"never")
    assert not vault.replace("k1", before[:-1], b"never")
    assert not vault.replace("k2", before, b"never")
    assert vault.read_envelope("k1") == before
    assert vault.replace("k1", before, rewrapped)
    assert vault.read_envelope("k1") == rewrapped != before
    assert not vault.replace("k1", before, b"never"), "it is not the stored one any more"
    assert vault.load("k1").private_numbers() == private_key.private_numbers()
    assert vault.key_ids() == {"k1"}


def test_a_replacement_does_not_restore_a_removed_key(vault: Vault, private_key: PrivateKey) -> None:
    vault.put("k1", private_key)
    before = vault.read_envelope("k1")
    vault.remove("k1")
    assert not vault.replace("k1", before, before)
    assert vault.key_ids() == frozenset()
