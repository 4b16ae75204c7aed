"""Which wrapping keys a deployment's secrets are under: what a start is measured by.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

import builtins
from typing import NamedTuple, Protocol


class RegisteredKek(NamedTuple):
    """A wrapping key that secrets of this store may be under."""

    name: str
    check_value: bytes | None
    """Proves a passphrase right without keeping it; None for a key of AWS KMS."""

    def __repr__(self) -> str:
        return f"KnownWrapping(name={self.name!r})"


class KekRegistry(Protocol):
    """The list of them: one as a rule, two while secrets move from one to another."""

    def list(self) -> list[RegisteredKek]:
        """All, by name."""
        ...

    def add(self, key: RegisteredKek, beside: str | None) -> builtins.list[RegisteredKek]:
        """Add a key while `beside` is in the list, or with None while nothing is; return the list as it is then.

        Of two who add a first one at once, one succeeds. A key that is in the list already stays as it is.
        """
        ...

    def retain_only(self, name: str) -> None:
        """Take every other key off the list: nothing is under them any more. Nothing happens when this one is not on
        it: a list that is empty would take any key."""
        ...
