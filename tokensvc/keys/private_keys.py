"""Which private keys in the vault can sign: those that open, and are the private half of the public key on record.

Invariants
- Only a definitive verdict makes a private key damaged: its content is unreadable, or it does not open although the
  wrapping key that it names is available, or it is another key's private half. What is damaged is as lost as what is
  missing.
- No verdict comes of a wrapping key that is unknown or unavailable, of a passphrase that an unnamed envelope may need,
  of a file that may not be read, or of a store that does not answer: with other settings, or a moment later, it opens.
- A verdict is remembered for exactly the bytes that it was made of, so that a private key is opened once a process and
  AWS KMS is not called at each look.
"""

from __future__ import annotations

import hashlib

from tokensvc.errors import InvalidKey, VaultError, WrappingKeyUnavailable
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.vault.store import Vault

KMS_RETRY_SECONDS = 30.0
"""For so long after AWS KMS did not answer, it is not asked again: a call may take as long as a third of the lease."""


def open_private_key(vault: Vault, record: KeyRecord) -> PrivateKey:
    """The private half of this key. Raises as `Vault.open`, and InvalidKey when the vault has another key's."""
    private_key = vault.open(record.id)
    if keypair.public_der(private_key.public_key()) != record.public_der:
        raise InvalidKey("the private half in the vault is another key's; IVS would refuse what it signs")
    return private_key


class PrivateKeyChecks:
    """What is known of the private keys in one vault. Threads may share it: a verdict is replaced whole."""

    def __init__(self) -> None:
        self._verdicts: dict[str, tuple[bytes, str]] = {}
        """By key id: what was judged, and what is wrong with it; "" when it can sign."""
        self._unavailable_until = 0.0

    def is_known_damaged(self, key_id: str) -> bool:
        """Whether a private key was damaged when it was judged last. Asks nobody."""
        return bool(self._verdicts.get(key_id, (b"", ""))[1])

    def damage(self, vault: Vault, record: KeyRecord, monotonic: float) -> str:
        """What is wrong with a private key, in words; "" when it can sign, is missing, or cannot be judged now.

        Raises StoreError where the vault is the store.
        """
        try:
            content = vault.read_envelope(record.id)
        except VaultError:
            return ""
        judged = hashlib.sha256(content + record.public_der).digest()
        known, verdict = self._verdicts.get(record.id, (b"", ""))
        if known == judged or monotonic < self._unavailable_until:
            return verdict if known == judged else ""
        try:
            open_private_key(vault, record)
            verdict = ""
        except InvalidKey as damaged:
            verdict = damaged.message
        except WrappingKeyUnavailable:
            self._unavailable_until = monotonic + KMS_RETRY_SECONDS
            return ""
        except VaultError:
            return ""
        self._verdicts[record.id] = judged, verdict
        return verdict
