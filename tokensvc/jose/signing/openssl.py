"""ES384 signatures with OpenSSL, through `cryptography`: for machines that AWS-LC does not support."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from tokensvc.jose.es384 import COORDINATE_BYTES
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing.signer import sign_each

_ECDSA = ec.ECDSA(Prehashed(hashes.SHA384()))


class OpenSslKey:
    """A P-384 key loaded by OpenSSL."""

    __slots__ = ("_key",)

    def __init__(self, private_key: PrivateKey) -> None:
        self._key = private_key

    def sign(self, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(digest, _ECDSA))
        return r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")


class OpenSslSigner:
    """OpenSSL, which signs one digest at a time."""

    name = "openssl"

    def prepare(self, private_key: PrivateKey) -> OpenSslKey:
        return OpenSslKey(private_key)

    def sign_many(self, requests: Sequence[tuple[OpenSslKey, bytes]]) -> list[bytes]:
        return sign_each(requests)

    def problem(self) -> str:
        return ""
