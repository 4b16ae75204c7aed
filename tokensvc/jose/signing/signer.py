"""What turns digests into ES384 signatures (RFC 7518, 3.4): r||s, 96 bytes, each time with another nonce.

A digest is the SHA-384 of what is signed, as `es384.digest` makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from tokensvc.jose.es384 import PreparedKey
from tokensvc.jose.keypair import PrivateKey

_Key = TypeVar("_Key", bound=PreparedKey)


class Signer(Protocol[_Key]):
    """One library that signs."""

    @property
    def name(self) -> str:
        """What `TOKENSVC_SIGNER` calls it."""
        ...

    def prepare(self, private_key: PrivateKey) -> _Key:
        """Load a private key."""
        ...

    def sign_many(self, requests: Sequence[tuple[_Key, bytes]]) -> list[bytes]:
        """Return a signature for each (key, digest), in order. The keys may differ; this signer prepared them all."""
        ...

    def problem(self) -> str:
        """What is wrong with it in this process, in words; "" when nothing is."""
        ...


def sign_each(requests: Sequence[tuple[PreparedKey, bytes]]) -> list[bytes]:
    """Sign one after another, each with its own key."""
    return [key.sign(digest) for key, digest in requests]


class NoMetrics:
    """For processes that have no metrics."""

    def lanes_filled(self, lanes: int, /) -> None: ...

    def signer_fallback(self, reason: str, count: int, /) -> None: ...

    def signature_verified(self, passed: bool, /) -> None: ...
