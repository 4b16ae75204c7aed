"""The registry of the key-encryption keys (KEKs) that a deployment's secrets are encrypted with.

At its start a process compares its configured keys with this registry. Every method may raise StoreUnavailable, in
which case nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

import builtins
from typing import NamedTuple, Protocol


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

    def retain_only(self, name: str) -> None:
        """Delete every other key, since no secret is encrypted with them any more. Does nothing if this key is not
        registered: an empty registry would accept any key."""
        ...
