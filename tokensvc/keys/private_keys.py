"""Checks of the private keys in the vault: whether one can be decrypted and belongs to the recorded public key.

Invariants
- Only a definite result makes a private key damaged: its content is unreadable, it cannot be decrypted although the
  wrapping key that it names is available, or it belongs to another public key. A damaged key counts as lost, like a
  missing one.
- There is no result if the wrapping key is unknown or unavailable, if an unnamed envelope may need another passphrase,
  if a file may not be read, or if the store does not respond: with other settings, or later, decryption may succeed.
- A result is remembered for exactly the bytes that were checked, so that a process decrypts each private key only once
  and does not call AWS KMS for every inventory.
"""

from __future__ import annotations

import hashlib

from tokensvc.errors import InvalidKey, VaultError, WrappingKeyUnavailable
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.vault.store import Vault

KMS_RETRY_SECONDS = 30.0
"""How long AWS KMS is not called again after it did not respond: a call may take up to a third of the lease."""


def open_private_key(vault: Vault, record: KeyRecord) -> PrivateKey:
    """The private key of this record. Raises what `Vault.load` raises, and InvalidKey if it belongs to another key."""
    private_key = vault.load(record.id)
    if keypair.public_der(private_key.public_key()) != record.public_der:
        raise InvalidKey("the private key in the vault belongs to another public key; IVS would reject its tokens")
    return private_key


class PrivateKeyChecks:
    """Results of checks of the private keys in one vault. Thread-safe: each result is replaced as a whole."""

    def __init__(self) -> None:
        self._results: dict[str, tuple[bytes, str]] = {}
        """By key id: digest of the bytes that were checked, and what is wrong with them; "" if the key can sign."""
        self._unavailable_until = 0.0

    def is_known_damaged(self, key_id: str) -> bool:
        """Whether a private key was damaged when it was last checked. Uses neither vault nor KMS."""
        return bool(self._results.get(key_id, (b"", ""))[1])

    def damage(self, vault: Vault, record: KeyRecord, monotonic: float) -> str:
        """What is wrong with a private key, as text; "" if it can sign, is missing, or cannot be checked now.

        Raises StoreError if the vault is the store.
        """
        try:
            content = vault.read_envelope(record.id)
        except VaultError:
            return ""
        checked = hashlib.sha256(content + record.public_der).digest()
        known, result = self._results.get(record.id, (b"", ""))
        if known == checked or monotonic < self._unavailable_until:
            return result if known == checked else ""
        try:
            open_private_key(vault, record)
            result = ""
        except InvalidKey as damaged:
            result = damaged.message
        except WrappingKeyUnavailable:
            self._unavailable_until = monotonic + KMS_RETRY_SECONDS
            return ""
        except VaultError:
            return ""
        self._results[record.id] = checked, result
        return result
