"""How the deployment's secrets are wrapped under one root: its passphrase, or a data key of AWS KMS.

Rules of the file
- A passphrase of 256 random bits (32 bytes as hex or base64url) is strong as it is. Any other is taken as typed by a
  person and goes through scrypt first (RFC 7914; n = 2^17, r = 8, p = 1), since PKCS#8's own stretching is weak.
- A data key is 256 random bits too, so it wraps as a passphrase does.
- Private keys are encrypted PKCS#8 under `pkcs8_password`; other secrets are AES-256-GCM under a key of their own,
  derived by HKDF (RFC 5869) and bound to what they are.
- Nothing here appears in a repr or an error.

What wraps a deployment's secrets.
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
"""How much of its check value names a passphrase: enough to tell a deployment's few apart."""
_RANDOM = re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9_-]{43}=?")
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 17, 8, 1


class DerivedKeys:
    """The keys that follow from one root. Making one of a passphrase, with the store's salt, may take half a second."""

    __slots__ = ("_root", "pkcs8_password")

    def __init__(self, passphrase: str, salt: bytes) -> None:
        root = passphrase.encode()
        if not _RANDOM.fullmatch(passphrase):
            root = base64url_encode(Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(root))
        self._root = root
        self.pkcs8_password = root

    @classmethod
    def of_data_key(cls, data_key: bytes) -> DerivedKeys:
        """The wrapping under a data key of 32 random bytes."""
        return cls(data_key.hex(), b"")

    def check_value(self) -> bytes:
        """What the store keeps to prove a passphrase right; nothing can be opened with it."""
        return self._derive("check")

    def encrypt(self, purpose: str, secret: bytes, nonce: bytes) -> bytes:
        """Encrypt a secret for that purpose. A nonce must be random and is never used twice."""
        return nonce + AESGCM(self._derive(purpose)).encrypt(nonce, secret, purpose.encode())

    def decrypt(self, purpose: str, wrapped: bytes) -> bytes:
        """The inverse of `wrap`. Raises WrongPassphrase when it was wrapped otherwise or altered."""
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(self._derive(purpose)).decrypt(nonce, sealed, purpose.encode())
        except (InvalidTag, ValueError):  # ValueError: it is shorter than a nonce
            raise WrongPassphrase(f"the passphrase does not open the store's {purpose}") from None

    def _derive(self, purpose: str) -> bytes:
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"tokensvc {purpose}".encode()).derive(self._root)


class PassphraseKey:
    """A passphrase as a wrapping key: whatever is under it has the same wrapping."""

    def __init__(self, passphrase: str, salt: bytes) -> None:
        self._wrapping = DerivedKeys(passphrase, salt)
        self.check_value: bytes | None = self._wrapping.check_value()
        self.name = f"passphrase:{self._wrapping.check_value()[:NAME_BYTES].hex()}"

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The wrapping for a new secret; there is no data key to keep beside it."""
        return self._wrapping, b""

    def decrypt_data_key(self, _data_key: bytes) -> DerivedKeys:
        """The wrapping of a secret that names this key."""
        return self._wrapping


class WrappingKey(Protocol):
    """A passphrase, or a key of AWS KMS. It never leaves where it lives; what it gives are wrappings."""

    @property
    def name(self) -> str:
        """What a secret under it says of it: `passphrase:<8 hex digits>` or `kms:<ARN>`."""
        ...

    @property
    def check_value(self) -> bytes | None:
        """What proves it right without opening anything; None where its keeper does (AWS KMS)."""
        ...

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The wrapping for one new secret, and the encrypted data key to keep beside it (empty when there is none).

        Raises WrappingKeyUnavailable.
        """
        ...

    def decrypt_data_key(self, data_key: bytes) -> DerivedKeys:
        """The wrapping of a secret, from the data key that was kept beside it.

        Raises WrappingKeyUnavailable, or InvalidKey when it is damaged or another's.
        """
        ...
