"""Wrapping: nothing opens without the passphrase, the purpose and every byte."""

from __future__ import annotations

import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.errors import WrongPassphrase
from tokensvc.vault.kek import NONCE_BYTES, PassphraseKey, Wrapping

STRONG = "0123456789abcdef" * 4
SALT = b"salt of this store"
NONCE = bytes(NONCE_BYTES)


@given(st.binary(), st.text(max_size=20))
def test_unwrapping_undoes_wrapping(secret: bytes, purpose: str) -> None:
    wrapping = Wrapping(STRONG, SALT)
    wrapped = wrapping.wrap(purpose, secret, NONCE)
    assert wrapping.unwrap(purpose, wrapped) == secret
    assert len(secret) < 4 or secret not in wrapped


def test_another_passphrase_opens_nothing() -> None:
    wrapped = Wrapping(STRONG, SALT).wrap("subject key", b"secret", NONCE)
    with pytest.raises(WrongPassphrase, match="subject key") as refused:
        Wrapping(STRONG[:-1] + "e", SALT).unwrap("subject key", wrapped)
    assert "secret" not in str(refused.value).replace("the store's", "")


def test_a_secret_is_bound_to_its_purpose() -> None:
    wrapping = Wrapping(STRONG, SALT)
    with pytest.raises(WrongPassphrase):
        wrapping.unwrap("webhook secret", wrapping.wrap("subject key", b"secret", NONCE))


def test_any_altered_byte_is_noticed() -> None:
    wrapping = Wrapping(STRONG, SALT)
    wrapped = wrapping.wrap("subject key", b"secret", NONCE)
    for position in range(len(wrapped)):
        altered = bytearray(wrapped)
        altered[position] ^= 1
        with pytest.raises(WrongPassphrase):
            wrapping.unwrap("subject key", bytes(altered))


def test_any_missing_byte_is_noticed() -> None:
    """Down to nothing at all: a damaged row is a wrong passphrase to the reader, never a foreign exception."""
    wrapping = Wrapping(STRONG, SALT)
    wrapped = wrapping.wrap("subject key", b"secret", NONCE)
    for length in range(len(wrapped)):
        with pytest.raises(WrongPassphrase):
            wrapping.unwrap("subject key", wrapped[:length])


def test_the_nonce_makes_each_wrapping_another() -> None:
    wrapping = Wrapping(STRONG, SALT)
    first, second = (wrapping.wrap("p", b"secret", secrets.token_bytes(NONCE_BYTES)) for _ in range(2))
    assert first != second
    assert first[NONCE_BYTES:] != second[NONCE_BYTES:]


@pytest.mark.parametrize("strong", [STRONG, STRONG.upper(), "A" * 43, "a-_" * 14 + "b", "A" * 43 + "="])
def test_a_random_passphrase_is_strong_as_it_is(strong: str) -> None:
    """It needs no stretching, so the salt does not matter and start-up is quick."""
    began = time.process_time()
    assert Wrapping(strong, b"one").check_value() == Wrapping(strong, b"two").check_value()
    assert Wrapping(strong, b"one").pkcs8_password == strong.encode()
    assert time.process_time() - began < 0.1, "it went through scrypt"


def test_a_typed_passphrase_is_stretched_with_the_stores_salt() -> None:
    typed = "correct horse battery staple"
    one, two = Wrapping(typed, b"one"), Wrapping(typed, b"two")
    assert one.check_value() != two.check_value()
    assert typed.encode() not in one.pkcs8_password
    assert len(one.pkcs8_password) == 43, "256 bits"
    assert one.check_value() == Wrapping(typed, b"one").check_value()


def test_the_check_value_opens_nothing() -> None:
    """It lies in the clear in the store, so it must be no key of anything."""
    wrapping = Wrapping(STRONG, SALT)
    wrapped = wrapping.wrap("subject key", b"secret", NONCE)
    for pretender in (wrapping.check_value().hex(), wrapping.check_value().decode("latin-1")):
        with pytest.raises(WrongPassphrase):
            Wrapping(pretender, SALT).unwrap("subject key", wrapped)


def test_nothing_shows_in_a_repr() -> None:
    assert STRONG not in repr(Wrapping(STRONG, SALT))
    assert not hasattr(Wrapping(STRONG, SALT), "__dict__")


def test_a_data_key_wraps_as_a_random_passphrase_does() -> None:
    data_key = bytes(range(32))
    wrapped = Wrapping.of_data_key(data_key).wrap("subject key", b"secret", NONCE)
    assert Wrapping.of_data_key(data_key).unwrap("subject key", wrapped) == b"secret"
    with pytest.raises(WrongPassphrase):
        Wrapping.of_data_key(bytes(32)).unwrap("subject key", wrapped)
    assert len(bytes.fromhex(Wrapping.of_data_key(data_key).pkcs8_password.decode())) == 32, "no bit of it is lost"


def test_a_passphrase_is_named_by_its_check_value_under_the_stores_salt() -> None:
    key = PassphraseKey("correct horse battery staple", SALT)
    assert key.name == f"passphrase:{Wrapping('correct horse battery staple', SALT).check_value().hex()[:8]}"
    assert key.name == PassphraseKey("correct horse battery staple", SALT).name
    assert key.name != PassphraseKey("correct horse battery staple", b"other salt").name
    wrapping, data_key = key.fresh()
    assert data_key == b""
    assert key.again(data_key).unwrap("p", wrapping.wrap("p", b"secret", NONCE)) == b"secret"


def test_no_passphrase_shows_in_what_names_it() -> None:
    key = PassphraseKey(STRONG, SALT)
    assert STRONG not in repr(key) + repr(vars(key)) + key.name
