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
        self.away = False
        self.opened = 0
        self.refused = 0
        self._made: dict[bytes, bytes] = {}

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The wrapping for one new secret, and its data key."""
        self._require_here()
        encrypted, plain = secrets.token_bytes(40), secrets.token_bytes(32)
        self._made[encrypted] = plain
        return DerivedKeys.of_data_key(plain), encrypted

    def decrypt_data_key(self, data_key: bytes) -> DerivedKeys:
        """The wrapping of a secret."""
        self._require_here()
        self.opened += 1
        if data_key not in self._made:
            raise InvalidKey("this data key is another's")
        return DerivedKeys.of_data_key(self._made[data_key])

    def _require_here(self) -> None:
        if self.away:
            self.refused += 1
            raise WrappingKeyUnavailable(f"{self.name} does not respond")


CIPHER = SecretCipher(passphrase())
"""What most tests wrap with."""
