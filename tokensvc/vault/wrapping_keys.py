"""What wraps a deployment's secrets."""

from __future__ import annotations

from typing import Protocol

from tokensvc.vault.kek import Wrapping


class WrappingKey(Protocol):
    """A passphrase, or a key of AWS KMS. It never leaves where it lives; what it gives are wrappings."""

    @property
    def name(self) -> str:
        """What a secret under it says of it: `passphrase:<8 hex digits>` or `kms:<ARN>`."""
        ...

    @property
    def check(self) -> bytes | None:
        """What proves it right without opening anything; None where its keeper does (AWS KMS)."""
        ...

    def fresh(self) -> tuple[Wrapping, bytes]:
        """The wrapping for one new secret, and the encrypted data key to keep beside it (empty when there is none).

        Raises WrappingKeyUnavailable.
        """
        ...

    def again(self, data_key: bytes) -> Wrapping:
        """The wrapping of a secret, from the data key that was kept beside it.

        Raises WrappingKeyUnavailable, or InvalidKey when it is damaged or another's.
        """
        ...
