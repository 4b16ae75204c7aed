"""Where private halves rest."""

from __future__ import annotations

from typing import Protocol

from tokensvc.core.keypair import PrivateKey


class Vault(Protocol):
    """Private keys at rest, always encrypted, each under our key id."""

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        """Keep a private key durably before returning. Raises VaultError rather than overwrite one."""
        ...

    def open(self, key_id: str) -> PrivateKey:
        """Read a private key. Raises PrivateKeyMissing, KeyFileTooOpen or WrongPassphrase."""
        ...

    def remove(self, key_id: str) -> None:
        """Forget a private key; nothing happens when there is none."""
        ...

    def key_ids(self) -> frozenset[str]:
        """The ids of all private keys that are kept."""
        ...
