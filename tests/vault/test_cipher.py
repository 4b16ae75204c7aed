"""SecretCipher: the current KEK encrypts, the KEK that a secret names decrypts it, and KEKs are registered."""

from __future__ import annotations

import pytest

from tests.support.audit import EVENT
from tests.support.keks import NEW, OLD, SALT, FakeKms, passphrase
from tokensvc.errors import (
    Action,
    InvalidKey,
    Remedy,
    VaultError,
    WrappingKeyUnavailable,
    WrappingKeyUnknown,
    WrongPassphrase,
)
from tokensvc.jose.keypair import PrivateKey
from tokensvc.storage.store import Store
from tokensvc.vault import envelope
from tokensvc.vault.cipher import UNNAMED, SecretCipher, kek_name, register_kek
from tokensvc.vault.envelope import Envelope
from tokensvc.vault.kek import DerivedKeys
from tokensvc.vault.store import RegisteredKek

PURPOSE = "subject key"


def registered_names(store: Store) -> set[str]:
    return {key.name for key in store.kek_registry.list()}


def test_previous_keks_decrypt_but_never_encrypt(private_key: PrivateKey) -> None:
    old, new = passphrase(OLD), FakeKms()
    before = SecretCipher(old)
    encrypted = before.encrypt_key(private_key), before.encrypt_secret(PURPOSE, b"secret")
    now = SecretCipher(new, old)
    assert now.current == new.name
    assert now.names == (new.name, old.name)
    assert now.decrypt_key(encrypted[0]).private_numbers() == private_key.private_numbers()
    assert now.decrypt_secret(PURPOSE, encrypted[1]) == b"secret"
    assert {kek_name(e) for e in encrypted} == {old.name}
    assert {kek_name(now.encrypt_key(private_key)), kek_name(now.encrypt_secret(PURPOSE, b"s"))} == {new.name}


def test_each_secret_has_its_own_data_key(private_key: PrivateKey) -> None:
    cipher = SecretCipher(FakeKms())
    data_keys = {envelope.read(cipher.encrypt_key(private_key)).data_key for _ in range(3)}
    assert len(data_keys) == 3
    assert b"" not in data_keys


def test_an_unnamed_secret_of_an_earlier_release_is_tried_with_each_passphrase() -> None:
    encrypted = DerivedKeys(OLD, SALT).encrypt(PURPOSE, b"secret", bytes(12))
    assert kek_name(encrypted) == UNNAMED
    assert SecretCipher(FakeKms(), passphrase(NEW), passphrase(OLD)).decrypt_secret(PURPOSE, encrypted) == b"secret"
    for cipher in (SecretCipher(passphrase(NEW)), SecretCipher(FakeKms())):
        with pytest.raises(WrongPassphrase, match=PURPOSE):
            cipher.decrypt_secret(PURPOSE, encrypted)


def test_the_error_about_a_missing_kek_names_it_and_has_a_remedy(private_key: PrivateKey) -> None:
    encrypted = SecretCipher(FakeKms("kms:two")).encrypt_secret(PURPOSE, b"secret")
    with pytest.raises(WrappingKeyUnknown, match="kms:two") as raised:
        SecretCipher(passphrase()).decrypt_secret(PURPOSE, encrypted)
    assert raised.value.remedy == Remedy(Action.ADD_PREVIOUS_KMS_KEY, {"arn": "two"})


def test_an_altered_secret_is_damaged_and_not_a_wrong_passphrase(private_key: PrivateKey) -> None:
    """The key that it names is configured and correct, so another passphrase would not help."""
    for key in (passphrase(), FakeKms()):
        cipher = SecretCipher(key)
        parsed = envelope.read(cipher.encrypt_secret(PURPOSE, b"secret"))
        altered = envelope.write(parsed._replace(body=parsed.body[:-1] + bytes([parsed.body[-1] ^ 1])))
        with pytest.raises(InvalidKey, match="is damaged"):
            cipher.decrypt_secret(PURPOSE, altered)
        with pytest.raises(InvalidKey, match="is damaged"):
            cipher.decrypt_secret("webhook secret", envelope.write(parsed))
    with pytest.raises(InvalidKey, match="belongs to another"):
        SecretCipher(FakeKms()).decrypt_secret(PURPOSE, envelope.write(Envelope("kms:one", b"x", b"")))


def test_no_secret_is_in_a_repr_or_an_error(private_key: PrivateKey) -> None:
    cipher = SecretCipher(passphrase(NEW), passphrase(OLD))
    assert OLD not in repr(cipher) + repr(vars(cipher))
    with pytest.raises(VaultError) as raised:
        cipher.decrypt_key(SecretCipher(passphrase("0c" * 32)).encrypt_key(private_key))
    assert not [secret for secret in (OLD, NEW, "0c" * 32) if secret in str(raised.value)]


def test_the_first_kek_of_a_store_is_registered_and_then_no_other(store: Store) -> None:
    register_kek(store.kek_registry, passphrase(OLD))
    assert registered_names(store) == {passphrase(OLD).name}
    with pytest.raises(WrongPassphrase, match="the passphrase is not the one"):
        register_kek(store.kek_registry, passphrase(NEW))
    with pytest.raises(WrappingKeyUnknown, match=rf"encrypted with {passphrase(OLD).name}, not with kms:one"):
        register_kek(store.kek_registry, FakeKms())
    with pytest.raises(WrongPassphrase):
        register_kek(store.kek_registry, passphrase(NEW), passphrase("0c" * 32), FakeKms())
    assert registered_names(store) == {passphrase(OLD).name}, "nothing was changed"


def test_a_new_kek_is_registered_if_the_previous_one_is_given(store: Store) -> None:
    register_kek(store.kek_registry, passphrase(OLD))
    assert register_kek(store.kek_registry, passphrase(NEW), passphrase(OLD)).current == passphrase(NEW).name
    assert registered_names(store) == {passphrase(OLD).name, passphrase(NEW).name}
    register_kek(store.kek_registry, FakeKms(), passphrase(NEW))
    assert len(registered_names(store)) == 3
    for keys in ([passphrase(OLD)], [passphrase(NEW)], [passphrase(NEW), passphrase("0c" * 32)]):
        register_kek(store.kek_registry, *keys)  # a worker with the former settings still starts
    store.kek_registry.retain_only("kms:one", event=EVENT)
    with pytest.raises(WrongPassphrase):
        register_kek(store.kek_registry, passphrase(NEW))


def test_a_passphrase_is_not_identified_by_its_name_alone(store: Store) -> None:
    """Names are 32 bits; the check value behind them is 256."""
    store.kek_registry.add(RegisteredKek(passphrase(OLD).name, b"another check value"), None)
    with pytest.raises(WrongPassphrase):
        register_kek(store.kek_registry, passphrase(OLD))


def test_an_unavailable_kek_is_not_registered(store: Store) -> None:
    kms = FakeKms()
    kms.unavailable = True
    with pytest.raises(WrappingKeyUnavailable):
        register_kek(store.kek_registry, kms)
    assert registered_names(store) == set()
    kms.unavailable = False
    register_kek(store.kek_registry, kms)
    kms.unavailable = True
    assert register_kek(store.kek_registry, kms).current == kms.name, "a registered key is not called at start"


def test_only_one_of_two_simultaneous_first_keks_is_registered(store: Store) -> None:
    """Both processes read an empty registry."""

    class RacingRegistry:
        """A registry that another process writes to after it was read."""

        def __init__(self) -> None:
            self.add, self.retain_only = store.kek_registry.add, store.kek_registry.retain_only

        def list(self) -> list[RegisteredKek]:
            before = store.kek_registry.list()
            register_kek(store.kek_registry, passphrase(OLD))
            return before

    with pytest.raises(WrongPassphrase):
        register_kek(RacingRegistry(), passphrase(NEW))
    assert registered_names(store) == {passphrase(OLD).name}
