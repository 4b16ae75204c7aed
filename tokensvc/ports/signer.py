"""What turns a digest into an ES384 signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tokensvc.core.keypair import PrivateKey


class Signer(Protocol):
    """One private key, prepared once, signing many times."""

    def sign(self, digest: bytes) -> bytes:
        """Return the 96-byte r||s signature (RFC 7518, 3.4) over what has this digest, as `es384.digest` makes it."""
        ...


SignerMaker = Callable[[PrivateKey], Signer]
