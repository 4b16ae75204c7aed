"""The interface of the signers. They turn digests into ES384 signatures (RFC 7518, 3.4): r||s, 96 bytes.

A digest is the SHA-384 of the data, as `es384.digest` returns it. Each signature has a nonce of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from tokensvc.jose.es384 import PreparedKey
from tokensvc.jose.keypair import PrivateKey

_Key = TypeVar("_Key", bound=PreparedKey)


class Signer(Protocol[_Key]):
    """A library that signs."""

    @property
    def name(self) -> str:
        """Its name in the setting `TOKENSVC_SIGNER`."""
        ...

    def prepare(self, private_key: PrivateKey) -> _Key:
        """Load a private key."""
        ...

    def sign_many(self, requests: Sequence[tuple[_Key, bytes]]) -> list[bytes]:
        """The signature for each (key, digest), in order. The keys may differ, but all were prepared by this signer."""
        ...

    def problem(self) -> str:
        """A description of what is wrong with the signer in this process; empty if nothing is."""
        ...


def sign_each(requests: Sequence[tuple[PreparedKey, bytes]]) -> list[bytes]:
    """Sign one digest after another, each with its key."""
    return [key.sign(digest) for key, digest in requests]


class NoMetrics:
    """The SigningMetrics of a process that has no metrics."""

    def lanes_filled(self, lanes: int, /) -> None: ...

    def signer_fallback(self, reason: str, count: int, /) -> None: ...

    def signature_verified(self, passed: bool, /) -> None: ...
