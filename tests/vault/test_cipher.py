"""Wrapping: one key wraps, each secret is opened by the key that it names, and a start must prove one of them."""

from __future__ import annotations

import pytest

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
from tokensvc.vault.cipher import UNNAMED, SecretCipher, register_kek, kek_name
from tokensvc.vault.envelope import Envelope
from tokensvc.vault.kek import DerivedKeys
from tokensvc.vault.kek_registry import RegisteredKek

PURPOSE = "subject key"


def names(store: Store) -> set[str]:
    return {key.name for key in store.kek_registry.list()}


def test_the_current_key_wraps_and_all_open(private_key: PrivateKey) -> None:
    old, new = passphrase(OLD), FakeKms()
    before = SecretCipher(old)
    kept = before.encrypt_key(private_key), before.encrypt_secret(PURPOSE, b"secret")
    now = SecretCipher(new, old)
    assert now.current == new.name
    assert now.names == (new.name, old.name)
    assert now.decrypt_key(kept[0]).private_numbers() == private_key.private_numbers()
    assert now.decrypt_secret(PURPOSE, kept[1]) == b"secret"
    assert {kek_name(k) for k in kept} == {old.name}
    assert {kek_name(now.encrypt_key(private_key)), kek_name(now.encrypt_secret(PURPOSE, b"s"))} == {new.name}


def test_each_secret_has_a_data_key_of_its_own(private_key: PrivateKey) -> None:
    cipher = SecretCipher(FakeKms())
    data_keys = {envelope.read(cipher.encrypt_key(private_key)).data_key for _ in range(3)}
    assert len(data_keys) == 3
    assert b"" not in data_keys


def test_a_secret_of_the_release_before_names_no_key_and_is_tried_with_each_passphrase() -> None:
    kept = DerivedKeys(OLD, SALT).encrypt(PURPOSE, b"secret", bytes(12))
    assert kek_name(kept) == UNNAMED
    assert SecretCipher(FakeKms(), passphrase(NEW), passphrase(OLD)).decrypt_secret(PURPOSE, kept) == b"secret"
    for cipher in (SecretCipher(passphrase(NEW)), SecretCipher(FakeKms())):
        with pytest.raises(WrongPassphrase, match=PURPOSE):
            cipher.decrypt_secret(PURPOSE, kept)


def test_a_key_that_is_not_given_is_named_with_what_to_do(private_key: PrivateKey) -> None:
    kept = SecretCipher(FakeKms("kms:two")).encrypt_secret(PURPOSE, b"secret")
    with pytest.raises(WrappingKeyUnknown, match="kms:two") as refused:
        SecretCipher(passphrase()).decrypt_secret(PURPOSE, kept)
    assert refused.value.remedy == Remedy(Action.ADD_PREVIOUS_KMS_KEY, {"arn": "two"})


def test_a_secret_that_was_altered_is_damaged_not_a_wrong_passphrase(private_key: PrivateKey) -> None:
    """The key that it names is there and is right, so nobody should look for another passphrase."""
    for key in (passphrase(), FakeKms()):
        cipher = SecretCipher(key)
        found = envelope.read(cipher.encrypt_secret(PURPOSE, b"secret"))
        altered = envelope.write(found._replace(body=found.body[:-1] + bytes([found.body[-1] ^ 1])))
        with pytest.raises(InvalidKey, match="is damaged"):
            cipher.decrypt_secret(PURPOSE, altered)
        with pytest.raises(InvalidKey, match="is damaged"):
            cipher.decrypt_secret("webhook secret", envelope.write(found))
    with pytest.raises(InvalidKey, match="another's"):
        SecretCipher(FakeKms()).decrypt_secret(PURPOSE, envelope.write(Envelope("kms:one", b"x", b"")))


def test_nothing_secret_shows(private_key: PrivateKey) -> None:
    cipher = SecretCipher(passphrase(NEW), passphrase(OLD))
    assert OLD not in repr(cipher) + repr(vars(cipher))
    with pytest.raises(VaultError) as refused:
        cipher.decrypt_key(SecretCipher(passphrase("0c" * 32)).encrypt_key(private_key))
    assert not [secret for secret in (OLD, NEW, "0c" * 32) if secret in str(refused.value)]


def test_a_new_store_takes_its_first_key_and_then_no_other(store: Store) -> None:
    register_kek(store.kek_registry, passphrase(OLD))
    assert names(store) == {passphrase(OLD).name}
    with pytest.raises(WrongPassphrase, match="the passphrase is not the passphrase"):
        register_kek(store.kek_registry, passphrase(NEW))
    with pytest.raises(WrappingKeyUnknown, match=rf"wrapped by {passphrase(OLD).name}, not by kms:one"):
        register_kek(store.kek_registry, FakeKms())
    with pytest.raises(WrongPassphrase):
        register_kek(store.kek_registry, passphrase(NEW), passphrase("0c" * 32), FakeKms())
    assert names(store) == {passphrase(OLD).name}, "nothing was changed"


def test_a_change_of_key_starts_when_the_one_before_is_right(store: Store) -> None:
    register_kek(store.kek_registry, passphrase(OLD))
    assert register_kek(store.kek_registry, passphrase(NEW), passphrase(OLD)).current == passphrase(NEW).name
    assert names(store) == {passphrase(OLD).name, passphrase(NEW).name}
    register_kek(store.kek_registry, FakeKms(), passphrase(NEW))
    assert len(names(store)) == 3
    for keys in ([passphrase(OLD)], [passphrase(NEW)], [passphrase(NEW), passphrase("0c" * 32)]):
        register_kek(store.kek_registry, *keys)  # a worker that has not been told yet goes on
    store.kek_registry.retain_only("kms:one")
    with pytest.raises(WrongPassphrase):
        register_kek(store.kek_registry, passphrase(NEW))


def test_a_passphrase_that_has_another_ones_name_is_not_it(store: Store) -> None:
    """Names are 32 bits; the check value behind them is 256."""
    store.kek_registry.add(RegisteredKek(passphrase(OLD).name, b"another check value"), None)
    with pytest.raises(WrongPassphrase):
        register_kek(store.kek_registry, passphrase(OLD))


def test_a_key_that_does_not_answer_joins_no_list(store: Store) -> None:
    kms = FakeKms()
    kms.away = True
    with pytest.raises(WrappingKeyUnavailable):
        register_kek(store.kek_registry, kms)
    assert names(store) == set()
    kms.away = False
    register_kek(store.kek_registry, kms)
    kms.away = True
    assert register_kek(store.kek_registry, kms).current == kms.name, "once it is known, a start does not ask it here"


def test_of_two_first_keys_the_later_is_refused(store: Store) -> None:
    """Both saw an empty list."""

    class Late:
        """A list that somebody else writes to between our look and our word."""

        def __init__(self) -> None:
            self.add, self.retain_only = store.kek_registry.add, store.kek_registry.retain_only

        def list(self) -> list[RegisteredKek]:
            listed = store.kek_registry.list()
            register_kek(store.kek_registry, passphrase(OLD))
            return listed

    with pytest.raises(WrongPassphrase):
        register_kek(Late(), passphrase(NEW))
    assert names(store) == {passphrase(OLD).name}
