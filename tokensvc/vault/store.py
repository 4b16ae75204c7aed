"""Where private keys are stored, and the registry of the KEKs (key-encryption keys) of a deployment.

At its start a process compares its configured KEKs with the registry, whose methods may raise StoreUnavailable, in
which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

import builtins
import re
from typing import NamedTuple, Protocol

from tokensvc.audit.record import AuditEvent
from tokensvc.errors import VaultError
from tokensvc.jose.keypair import PrivateKey

_KEY_ID = re.compile(r"[a-z0-9]{1,64}")


def is_key_id(text: str) -> bool:
    """Whether the text is a valid key id: lower-case letters and digits, usable as a file name."""
    return _KEY_ID.fullmatch(text) is not None


def require_key_id(text: str) -> None:
    """Raises VaultError unless the text is a valid key id."""
    if not is_key_id(text):
        raise VaultError("a key id has only lower-case letters and digits, at most 64")


class Vault(Protocol):
    """Private keys at rest, always encrypted, each with its key id and the name of its wrapping key.

    Every method may raise VaultError, or StoreError if the vault is in the store.
    """

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        """Encrypt a private key with the current wrapping key and store it. It is durable when this returns. Raises
        VaultError if a private key with this id exists."""
        ...

    def load(self, key_id: str) -> PrivateKey:
        """Read and decrypt a private key. Raises PrivateKeyMissing, InsecureKeyFile, WrongPassphrase, InvalidKey,
        WrappingKeyUnknown or WrappingKeyUnavailable."""
        ...

    def remove(self, key_id: str) -> None:
        """Delete a private key. Does nothing if there is none."""
        ...

    def key_ids(self) -> frozenset[str]:
        """The ids of all stored private keys."""
        ...

    def read_envelope(self, key_id: str) -> bytes:
        """A private key as it is stored (`vault/envelope.py`). Raises PrivateKeyMissing or InsecureKeyFile."""
        ...

    def replace(self, key_id: str, expected: bytes, envelope: bytes) -> bool:
        """Replace the expected envelope by this one. It is durable when this returns.

        At any moment exactly one of the two exists, complete. Returns False, and changes nothing, if the stored
        envelope is another one, or is missing.
        """
        ...


class RegisteredKek(NamedTuple):
    """A key-encryption key with which secrets of this store may be encrypted."""

    name: str
    check_value: bytes | None
    """Verifies a passphrase without storing it; None for a key of AWS KMS."""

    def __repr__(self) -> str:
        return f"RegisteredKek(name={self.name!r})"


class KekRegistry(Protocol):
    """The registered keys: normally one, two during a rewrap."""

    def list(self) -> list[RegisteredKek]:
        """All registered keys, ordered by name."""
        ...

    def add(self, key: RegisteredKek, if_registered: str | None) -> builtins.list[RegisteredKek]:
        """Register a key if the key named `if_registered` is registered, or, with None, if no key is; return all keys.

        If two processes register a first key at the same time, one succeeds. A key that is registered already stays
        unchanged.
        """
        ...

    def retain_only(self, name: str, *, event: AuditEvent) -> None:
        """Delete every other key, since no secret is encrypted with them any more. Does nothing if this key is not
        registered: an empty registry would accept any key. If keys are deleted, the event is recorded with their
        names."""
        ...
