"""DER without a label: which PEM label it would carry.

Rules of the file
- No ASN.1 of our own: each of cryptography's loaders is asked in turn, and the PEM ones hold bytes to their label.
- PKCS#12 alone is told by the object identifier near its start, since its loader would first work through as many
  rounds of hashing as the file asks for.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from tokensvc.jose import pem as armour

_PRIVATE = (armour.SEC1, armour.PKCS8, armour.ENCRYPTED_PKCS8, "RSA PRIVATE KEY", "DSA PRIVATE KEY")
_OTHERS: tuple[tuple[str, Callable[[bytes], object]], ...] = (
    ("PUBLIC KEY", load_der_public_key),
    ("CERTIFICATE", x509.load_der_x509_certificate),
    ("CERTIFICATE REQUEST", x509.load_der_x509_csr),
)
_PKCS7_DATA = bytes.fromhex("06092a864886f70d010701")
"""1.2.840.113549.1.7.1, the kind of content that a PKCS#12 file wraps (RFC 7292, 4)."""
_HEAD_BYTES = 32


def label_of(der: bytes) -> str | None:
    """The label under which these bytes can be read, or None when they cannot be."""
    for label in _PRIVATE:
        if _fits(lambda pem: load_pem_private_key(pem, None), armour.write(label, der)):
            return label
    for label, load in _OTHERS:
        if _fits(load, der):
            return label
    return armour.PKCS12 if _PKCS7_DATA in der[:_HEAD_BYTES] else None


def _fits(load: Callable[[bytes], object], data: bytes) -> bool:
    try:
        load(data)
    except (TypeError, UnsupportedAlgorithm):  # encrypted, or of its form and on a curve that cryptography lacks
        return True
    except (ValueError, x509.InvalidVersion):
        return False
    return True
