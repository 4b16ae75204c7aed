"""ES384 signatures by OpenSSL, through `cryptography`. The fall-back signer."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tokensvc.core.es384 import COORDINATE_BYTES
from tokensvc.core.keypair import PrivateKey

_ECDSA = ec.ECDSA(hashes.SHA384())


class OpenSslSigner:
    """One P-384 key inside OpenSSL."""

    __slots__ = ("_key",)

    def __init__(self, private_key: PrivateKey) -> None:
        self._key = private_key

    def sign(self, signing_input: bytes) -> bytes:
        """Return r||s over SHA-384 of these bytes."""
        r, s = decode_dss_signature(self._key.sign(signing_input, _ECDSA))
        return r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")
