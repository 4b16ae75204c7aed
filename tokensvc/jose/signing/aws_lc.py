"""ES384 signatures with AWS-LC, through the AWS Common Runtime: the fastest library for one or two at a time."""

from __future__ import annotations

from collections.abc import Sequence

from awscrt.crypto import EC, ECRawSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tokensvc.jose.es384 import COORDINATE_BYTES
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing.signer import sign_each


class AwsLcKey:
    """A P-384 key loaded by AWS-LC."""

    __slots__ = ("_key",)

    def __init__(self, private_key: PrivateKey) -> None:
        self._key = EC.new_key_from_der_data(
            private_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )

    def sign(self, digest: bytes) -> bytes:
        der: bytes = self._key.sign(digest)
        raw: bytes = EC.decode_der_signature_to_padded_pair(der, COORDINATE_BYTES)
        return raw

    def verify(self, digest: bytes, signature: bytes) -> bool:
        """Whether the r||s signature of the data with this digest was made with this key."""
        raw = ECRawSignature(r=signature[:COORDINATE_BYTES], s=signature[COORDINATE_BYTES:])
        verified: bool = self._key.verify(digest, EC.encode_raw_signature(raw))
        return verified


class AwsLcSigner:
    """AWS-LC, which signs one digest at a time."""

    name = "aws-lc"

    def prepare(self, private_key: PrivateKey) -> AwsLcKey:
        return AwsLcKey(private_key)

    def sign_many(self, requests: Sequence[tuple[AwsLcKey, bytes]]) -> list[bytes]:
        return sign_each(requests)

    def problem(self) -> str:
        return ""
