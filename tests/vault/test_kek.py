"""Wrapping: nothing opens without the passphrase, the purpose and every byte."""

from __future__ import annotations

import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.errors import WrongPassphrase
from tokensvc.vault.kek import NONCE_BYTES, PassphraseKey, DerivedKeys

STRONG = "0123456789abcdef" * 4
SALT = b"salt of this store"
NONCE = bytes(NONCE_BYTES)


@given(st.binary(), st.text(max_size=20))
def test_unwrapping_undoes_wrapping(secret: bytes, purpose: str) -> None:
    wrapping = DerivedKeys(STRONG, SALT)
    wrapped = wrapping.encrypt(purpose, secret, NONCE)
    assert wrapping.decrypt(purpose, wrapped) == secret
    assert len(secret) < 4 or secret not in wrapped


def test_another_passphrase_opens_nothing() -> None:
    wrapped = DerivedKeys(STRONG, SALT).encrypt("subject key", b"secret", NONCE)
    with pytest.raises(WrongPassphrase, match="subject key") as refused:
        DerivedKeys(STRONG[:-1] + "e", SALT).decrypt("subject key", wrapped)
    assert "secret" not in str(refused.value).replace("the store's", "")


def test_a_secret_is_bound_to_its_purpose() -> None:
    wrapping = DerivedKeys(STRONG, SALT)
    with pytest.raises(WrongPassphrase):
        wrapping.decrypt("webhook secret", wrapping.encrypt("subject key", b"secret", NONCE))


def test_any_altered_byte_is_noticed() -> None:
    wrapping = DerivedKeys(STRONG, SALT)
    wrapped = wrapping.encrypt("subject key", b"secret", NONCE)
    for position in range(len(wrapped)):
        altered = bytearray(wrapped)
        altered[position] ^= 1
        with pytest.raises(WrongPassphrase):
            wrapping.decrypt("subject key", bytes(altered))


def test_any_missing_byte_is_noticed() -> None:
    """Down to nothing at all: a damaged row is a wrong passphrase to the reader, never a foreign exception."""
    wrapping = DerivedKeys(STRONG, SALT)
    wrapped = wrapping.encrypt("subject key", b"secret", NONCE)
    for length in range(len(wrapped)):
        with pytest.raises(WrongPassphrase):
            wrapping.decrypt("subject key", wrapped[:length])


def test_the_nonce_makes_each_wrapping_another() -> None:
    wrapping = DerivedKeys(STRONG, SALT)
    first, second = (wrapping.encrypt("p", b"secret", secrets.token_bytes(NONCE_BYTES)) for _ in range(2))
    assert first != second
    assert first[NONCE_BYTES:] != second[NONCE_BYTES:]


@pytest.mark.parametrize("strong", [STRONG, STRONG.upper(), "A" * 43, "a-_" * 14 + "b", "A" * 43 + "="])
def test_a_random_passphrase_is_strong_as_it_is(strong: str) -> None:
    """It needs no stretching, so the salt does not matter and start-up is quick."""
    began = time.process_time()
    assert DerivedKeys(strong, b"one").check_value() == DerivedKeys(strong, b"two").check_value()
    assert DerivedKeys(strong, b"one").pkcs8_password == strong.encode()
    assert time.process_time() - began < 0.1, "it went through scrypt"


def test_a_typed_passphrase_is_stretched_with_the_stores_salt() -> None:
    typed = "correct horse battery staple"
    one, two = DerivedKeys(typed, b"one"), DerivedKeys(typed, b"two")
    assert one.check_value() != two.check_value()
    assert typed.encode() not in one.pkcs8_password
    assert len(one.pkcs8_password) == 43, "256 bits"
    assert one.check_value() == DerivedKeys(typed, b"one").check_value()


def test_the_check_value_opens_nothing() -> None:
    """It lies in the clear in the store, so it must be no key of anything."""
    wrapping = DerivedKeys(STRONG, SALT)
    wrapped = wrapping.encrypt("subject key", b"secret", NONCE)
    for pretender in (wrapping.check_value().hex(), wrapping.check_value().decode("latin-1")):
        with pytest.raises(WrongPassphrase):
            DerivedKeys(pretender, SALT).decrypt("subject key", wrapped)


def test_nothing_shows_in_a_repr() -> None:
    assert STRONG not in repr(DerivedKeys(STRONG, SALT))
    assert not hasattr(DerivedKeys(STRONG, SALT), "__dict__")


def test_a_data_key_wraps_as_a_random_passphrase_does() -> None:
    data_key = bytes(range(32))
    wrapped = DerivedKeys.of_data_key(data_key).encrypt("subject key", b"secret", NONCE)
    assert DerivedKeys.of_data_key(data_key).decrypt("subject key", wrapped) == b"secret"
    with pytest.raises(WrongPassphrase):
        DerivedKeys.of_data_key(bytes(32)).decrypt("subject key", wrapped)
    assert len(bytes.fromhex(DerivedKeys.of_data_key(data_key).pkcs8_password.decode())) == 32, "no bit of it is lost"


def test_a_passphrase_is_named_by_its_check_value_under_the_stores_salt() -> None:
    key = PassphraseKey("correct horse battery staple", SALT)
    assert key.name == f"passphrase:{DerivedKeys('correct horse battery staple', SALT).check_value().hex()[:8]}"
    assert key.name == PassphraseKey("correct horse battery staple", SALT).name
    assert key.name != PassphraseKey("correct horse battery staple", b"other salt").name
    wrapping, data_key = key.generate_data_key()
    assert data_key == b""
    assert key.decrypt_data_key(data_key).decrypt("p", wrapping.encrypt("p", b"secret", NONCE)) == b"secret"


def test_no_passphrase_shows_in_what_names_it() -> None:
    key = PassphraseKey(STRONG, SALT)
    assert STRONG not in repr(key) + repr(vars(key)) + key.name
