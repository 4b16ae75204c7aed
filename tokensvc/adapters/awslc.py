"""ES384 signatures by AWS-LC, through the AWS Common Runtime. The default signer."""

from __future__ import annotations

from awscrt.crypto import EC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tokensvc.core.es384 import COORDINATE_BYTES
from tokensvc.core.keypair import PrivateKey


class AwsLcSigner:
    """One P-384 key inside AWS-LC."""

    __slots__ = ("_key",)

    def __init__(self, private_key: PrivateKey) -> None:
        self._key = EC.new_key_from_der_data(
            private_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )

    def sign(self, digest: bytes) -> bytes:
        """Return r||s."""
        der: bytes = self._key.sign(digest)
        raw: bytes = EC.decode_der_signature_to_padded_pair(der, COORDINATE_BYTES)
        return raw
