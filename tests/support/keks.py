"""Wrapping keys for tests, and a key management service in a dictionary."""

from __future__ import annotations

import secrets

from tokensvc.errors import InvalidKey, WrappingKeyUnavailable
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.kek import DerivedKeys, PassphraseKey

SALT = b"salt of this store"
OLD, NEW = "0a" * 32, "0b" * 32


def passphrase(text: str = OLD) -> PassphraseKey:
    """A passphrase of 256 random bits, or a typed one."""
    return PassphraseKey(text, SALT)


class FakeKms:
    """A wrapping key that makes a data key for each secret, as KMS does, and may be unavailable."""

    check_value: bytes | None = None

    def __init__(self, name: str = "kms:one") -> None:
        self.name = name
        self.unavailable = False
        self.decryptions = 0
        self.failed_calls = 0
        self._made: dict[bytes, bytes] = {}

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """Keys for one new secret, and their encrypted data key."""
        self._require_available()
        encrypted, plain = secrets.token_bytes(40), secrets.token_bytes(32)
        self._made[encrypted] = plain
        return DerivedKeys.of_data_key(plain), encrypted

    def decrypt_data_key(self, data_key: bytes) -> DerivedKeys:
        """The keys of a secret, from its encrypted data key."""
        self._require_available()
        self.decryptions += 1
        if data_key not in self._made:
            raise InvalidKey("this data key belongs to another wrapping key")
        return DerivedKeys.of_data_key(self._made[data_key])

    def _require_available(self) -> None:
        if self.unavailable:
            self.failed_calls += 1
            raise WrappingKeyUnavailable(f"{self.name} does not respond")


CIPHER = SecretCipher(passphrase())
"""The cipher of most tests."""
