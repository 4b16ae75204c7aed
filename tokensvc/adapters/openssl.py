"""ES384 signatures by OpenSSL, through `cryptography`. The fall-back signer."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from tokensvc.core.es384 import COORDINATE_BYTES
from tokensvc.core.keypair import PrivateKey

_ECDSA = ec.ECDSA(Prehashed(hashes.SHA384()))


class OpenSslSigner:
    """One P-384 key inside OpenSSL."""

    __slots__ = ("_key",)

    def __init__(self, private_key: PrivateKey) -> None:
        self._key = private_key

    def sign(self, digest: bytes) -> bytes:
        """Return r||s."""
        r, s = decode_dss_signature(self._key.sign(digest, _ECDSA))
        return r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")
