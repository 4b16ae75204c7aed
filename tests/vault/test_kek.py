"""DerivedKeys: nothing is decrypted without the passphrase, the purpose and every byte."""

from __future__ import annotations

import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.errors import WrongPassphrase
from tokensvc.vault.kek import NONCE_BYTES, DerivedKeys, PassphraseKey

STRONG = "0123456789abcdef" * 4
SALT = b"salt of this store"
NONCE = bytes(NONCE_BYTES)


@given(st.binary(), st.text(max_size=20))
def test_an_encrypted_secret_is_decrypted(secret: bytes, purpose: str) -> None:
    keys = DerivedKeys(STRONG, SALT)
    encrypted = keys.encrypt(purpose, secret, NONCE)
    assert keys.decrypt(purpose, encrypted) == secret
    assert len(secret) < 4 or secret not in encrypted


def test_another_passphrase_decrypts_nothing() -> None:
    encrypted = DerivedKeys(STRONG, SALT).encrypt("subject key", b"secret", NONCE)
    with pytest.raises(WrongPassphrase, match="subject key") as raised:
        DerivedKeys(STRONG[:-1] + "e", SALT).decrypt("subject key", encrypted)
    assert "secret" not in str(raised.value).replace("the store's", "")


def test_a_secret_is_bound_to_its_purpose() -> None:
    keys = DerivedKeys(STRONG, SALT)
    with pytest.raises(WrongPassphrase):
        keys.decrypt("webhook secret", keys.encrypt("subject key", b"secret", NONCE))


def test_any_altered_byte_is_detected() -> None:
    keys = DerivedKeys(STRONG, SALT)
    encrypted = keys.encrypt("subject key", b"secret", NONCE)
    for position in range(len(encrypted)):
        altered = bytearray(encrypted)
        altered[position] ^= 1
        with pytest.raises(WrongPassphrase):
            keys.decrypt("subject key", bytes(altered))


def test_any_missing_byte_is_detected() -> None:
    """Down to empty data: a damaged row raises WrongPassphrase, never another exception."""
    keys = DerivedKeys(STRONG, SALT)
    encrypted = keys.encrypt("subject key", b"secret", NONCE)
    for length in range(len(encrypted)):
        with pytest.raises(WrongPassphrase):
            keys.decrypt("subject key", encrypted[:length])


def test_another_nonce_gives_another_ciphertext() -> None:
    keys = DerivedKeys(STRONG, SALT)
    first, second = (keys.encrypt("p", b"secret", secrets.token_bytes(NONCE_BYTES)) for _ in range(2))
    assert first != second
    assert first[NONCE_BYTES:] != second[NONCE_BYTES:]


@pytest.mark.parametrize("strong", [STRONG, STRONG.upper(), "A" * 43, "a-_" * 14 + "b", "A" * 43 + "="])
def test_a_random_passphrase_is_not_stretched(strong: str) -> None:
    """So the salt does not matter, and start-up is fast."""
    started = time.process_time()
    assert DerivedKeys(strong, b"one").check_value() == DerivedKeys(strong, b"two").check_value()
    assert DerivedKeys(strong, b"one").pkcs8_password == strong.encode()
    assert time.process_time() - started < 0.1, "it went through scrypt"


@pytest.mark.slow
def test_a_typed_passphrase_is_stretched_with_the_store_s_salt() -> None:
    typed = "correct horse battery staple"
    one, two = DerivedKeys(typed, b"one"), DerivedKeys(typed, b"two")
    assert one.check_value() != two.check_value()
    assert typed.encode() not in one.pkcs8_password
    assert len(one.pkcs8_password) == 43, "256 bits"
    assert one.check_value() == DerivedKeys(typed, b"one").check_value()


@pytest.mark.slow
def test_the_check_value_decrypts_nothing() -> None:
    """The store has it in the clear, so it must not be usable as a key."""
    keys = DerivedKeys(STRONG, SALT)
    encrypted = keys.encrypt("subject key", b"secret", NONCE)
    for passphrase in (keys.check_value().hex(), keys.check_value().decode("latin-1")):
        with pytest.raises(WrongPassphrase):
            DerivedKeys(passphrase, SALT).decrypt("subject key", encrypted)


def test_a_repr_contains_no_passphrase() -> None:
    assert STRONG not in repr(DerivedKeys(STRONG, SALT))
    assert not hasattr(DerivedKeys(STRONG, SALT), "__dict__")


def test_a_data_key_is_used_like_a_random_passphrase() -> None:
    data_key = bytes(range(32))
    encrypted = DerivedKeys.of_data_key(data_key).encrypt("subject key", b"secret", NONCE)
    assert DerivedKeys.of_data_key(data_key).decrypt("subject key", encrypted) == b"secret"
    with pytest.raises(WrongPassphrase):
        DerivedKeys.of_data_key(bytes(32)).decrypt("subject key", encrypted)
    assert len(bytes.fromhex(DerivedKeys.of_data_key(data_key).pkcs8_password.decode())) == 32, (
        "all of its bits are used"
    )


@pytest.mark.slow
def test_the_name_of_a_passphrase_is_derived_from_its_check_value() -> None:
    key = PassphraseKey("correct horse battery staple", SALT)
    assert key.name == f"passphrase:{DerivedKeys('correct horse battery staple', SALT).check_value().hex()[:8]}"
    assert key.name == PassphraseKey("correct horse battery staple", SALT).name
    assert key.name != PassphraseKey("correct horse battery staple", b"other salt").name
    keys, data_key = key.generate_data_key()
    assert data_key == b""
    assert key.decrypt_data_key(data_key).decrypt("p", keys.encrypt("p", b"secret", NONCE)) == b"secret"


def test_neither_repr_nor_name_contains_the_passphrase() -> None:
    key = PassphraseKey(STRONG, SALT)
    assert STRONG not in repr(key) + repr(vars(key)) + key.name
