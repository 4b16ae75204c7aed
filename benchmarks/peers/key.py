"""The keys that all Python peers use, so that one run can judge everyone's tokens by one public key."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tokensvc.jose import keypair

KEY_FILE_VARIABLE = "BENCHMARK_KEY_FILE"
"""Names a file with a private P-384 key, PKCS#8 as PEM. It is made for one run and signs nothing of worth."""
API_KEY = "bench"
"""What a peer's only caller presents as its bearer."""


def private_key() -> ec.EllipticCurvePrivateKey:
    """The key that the run chose, or a fresh one where a peer runs by itself."""
    path = os.environ.get(KEY_FILE_VARIABLE)
    if path is None:
        return keypair.generate()
    key = load_pem_private_key(Path(path).read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SystemExit(f"{path} holds no elliptic curve key")
    return key
