"""Where private halves rest."""

from __future__ import annotations

import re
from typing import Protocol

from tokensvc.errors import VaultError
from tokensvc.jose.keypair import PrivateKey

_KEY_ID = re.compile(r"[a-z0-9]{1,64}")


def is_key_id(text: str) -> bool:
    """Whether this has the form of our key ids: small letters and digits, fit for the name of a file or a row."""
    return _KEY_ID.fullmatch(text) is not None


def require_key_id(text: str) -> None:
    """Raise VaultError unless this has the form of our key ids."""
    if not is_key_id(text):
        raise VaultError("a key id has small letters and digits only")


class Vault(Protocol):
    """Private keys at rest, always encrypted, each under our key id and with the name of its wrapping key.

    Every method may raise VaultError, or StoreError where the vault is the store.
    """

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        """Keep a private key, under the current wrapping key, durably before returning. Raises VaultError rather than
        overwrite one."""
        ...

    def open(self, key_id: str) -> PrivateKey:
        """Read a private key. Raises PrivateKeyMissing, InsecureKeyFile, WrongPassphrase, WrappingKeyUnknown or
        WrappingKeyUnavailable."""
        ...

    def remove(self, key_id: str) -> None:
        """Forget a private key; nothing happens when there is none."""
        ...

    def key_ids(self) -> frozenset[str]:
        """The ids of all private keys that are kept."""
        ...

    def read_envelope(self, key_id: str) -> bytes:
        """A private key as it rests: an envelope (`vault/envelope.py`). Raises PrivateKeyMissing or InsecureKeyFile."""
        ...

    def replace(self, key_id: str, expected: bytes, envelope: bytes) -> bool:
        """Put this envelope in the place of the one that was seen, durably before returning.

        At any moment one of the two is there, whole. False, and nothing happened, when something else lies there by
        now, or nothing.
        """
        ...
