"""Key-encryption keys (wrapping keys), and the keys that are derived from a passphrase or from an AWS KMS data key.

Invariants
- A passphrase of 256 random bits (32 bytes as hex or base64url) is used as it is. Any other is assumed to be chosen by
  a person and is stretched with scrypt first (RFC 7914; n = 2^17, r = 8, p = 1), since PKCS#8's own key derivation is
  weak.
- A data key is 256 random bits too, and is used like such a passphrase.
- Private keys are encrypted PKCS#8 with `pkcs8_password`; other secrets are encrypted with AES-256-GCM, each with a key
  that is derived by HKDF (RFC 5869) and bound to its purpose.
- No key material appears in a repr or an error.
"""

from __future__ import annotations

import re
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tokensvc.errors import WrongPassphrase
from tokensvc.jose.es384 import base64url_encode

NONCE_BYTES = 12
NAME_BYTES = 4
"""How much of its check value is the name of a passphrase: enough to distinguish a deployment's few passphrases."""
_RANDOM = re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9_-]{43}=?")
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 17, 8, 1


class DerivedKeys:
    """The keys derived from a passphrase or a data key. Deriving from a typed passphrase may take half a second."""

    __slots__ = ("_root", "pkcs8_password")

    def __init__(self, passphrase: str, salt: bytes) -> None:
        root = passphrase.encode()
        if not _RANDOM.fullmatch(passphrase):
            root = base64url_encode(Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(root))
        self._root = root
        self.pkcs8_password = root

    @classmethod
    def of_data_key(cls, data_key: bytes) -> DerivedKeys:
        """The keys derived from a data key of 32 random bytes."""
        return cls(data_key.hex(), b"")

    def check_value(self) -> bytes:
        """A value that verifies a passphrase and decrypts nothing: the store has it in the clear."""
        return self._derive("check")

    def encrypt(self, purpose: str, secret: bytes, nonce: bytes) -> bytes:
        """Encrypt a secret for a purpose. The nonce must be random and must never be used twice."""
        return nonce + AESGCM(self._derive(purpose)).encrypt(nonce, secret, purpose.encode())

    def decrypt(self, purpose: str, encrypted: bytes) -> bytes:
        """The inverse of `encrypt`. Raises WrongPassphrase if the passphrase, the purpose or any byte differs."""
        nonce, ciphertext = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        try:
            return AESGCM(self._derive(purpose)).decrypt(nonce, ciphertext, purpose.encode())
        except (InvalidTag, ValueError):  # ValueError: shorter than a nonce
            raise WrongPassphrase(f"the passphrase cannot decrypt the store's {purpose}") from None

    def _derive(self, purpose: str) -> bytes:
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"tokensvc {purpose}".encode()).derive(self._root)


class PassphraseKey:
    """A passphrase as the wrapping key: it uses no data keys, so all secrets have the same derived keys."""

    def __init__(self, passphrase: str, salt: bytes) -> None:
        self._keys = DerivedKeys(passphrase, salt)
        self.check_value: bytes | None = self._keys.check_value()
        self.name = f"passphrase:{self._keys.check_value()[:NAME_BYTES].hex()}"

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The keys for a new secret, and no data key."""
        return self._keys, b""

    def decrypt_data_key(self, _data_key: bytes) -> DerivedKeys:
        """The keys of a secret that names this passphrase."""
        return self._keys


class WrappingKey(Protocol):
    """A passphrase, or an AWS KMS key. The key itself is never returned, only keys that are derived with it."""

    @property
    def name(self) -> str:
        """Its name in envelopes: `passphrase:<8 hex digits>` or `kms:<ARN>`."""
        ...

    @property
    def check_value(self) -> bytes | None:
        """A value that verifies the key without decrypting anything; None for AWS KMS, which verifies it itself."""
        ...

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The keys for one new secret, and the encrypted data key to store beside it (empty if there is none).

        Raises WrappingKeyUnavailable.
        """
        ...

    def decrypt_data_key(self, data_key: bytes) -> DerivedKeys:
        """The keys of a secret, from the encrypted data key that is stored beside it.

        Raises WrappingKeyUnavailable, or InvalidKey if the data key is damaged or belongs to another wrapping key.
        """
        ...
