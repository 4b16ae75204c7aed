"""The keys of all peers, so that a run can verify all tokens with one public key."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tokensvc.jose import keypair

KEY_FILE_VARIABLE = "BENCHMARK_KEY_FILE"
"""Environment variable: the file with a private P-384 key (PKCS#8, PEM). The key is created for one run."""
API_KEY = "bench"
"""The bearer token of a peer's only caller."""


def private_key() -> ec.EllipticCurvePrivateKey:
    """The key of the run, or a new one if a peer is started by itself."""
    path = os.environ.get(KEY_FILE_VARIABLE)
    if path is None:
        return keypair.generate()
    key = load_pem_private_key(Path(path).read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SystemExit(f"{path} does not contain an elliptic curve key")
    return key
