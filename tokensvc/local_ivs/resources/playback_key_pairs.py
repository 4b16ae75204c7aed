"""Playback key pairs: what is theirs alone.

Rules of the file
- Only the public half ever comes here, and it is stored as the DER that was sent; its fingerprint is over those bytes.
- IVS user guide, "Create or Import a Playback Key": P-384, PEM. A public half that is known is a conflict; INFERRED:
  before the quota is looked at.
- INFERRED, strict where IVS is silent: one block `PUBLIC KEY` with nothing but white space around it, and in it the DER
  that `openssl ec -pubout` writes for a named curve and an uncompressed point (RFC 5480, section 2). So one key has one
  spelling here, and what IVS might refuse is refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tokensvc.aws.arn import Arn
from tokensvc.errors import InvalidKey
from tokensvc.jose import pem
from tokensvc.jose.keypair import PublicKey, fingerprint_of, public_der, read_public_der, read_public_pem
from tokensvc.local_ivs.errors import invalid_member
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.transaction import Body, OperationCall

_NAMED_CURVE = bytes.fromhex("06052b81040022")
"""secp384r1 as an object identifier in DER (RFC 5480, section 2.1.1.1)."""
DEFAULTS: Mapping[str, Any] = {
    "name": "",  # INFERRED: AWS's examples show an absent name both as "" and left out
    "tags": {},
}


def finish(_: OperationCall, __: Arn, ___: str, body: Body) -> str:
    """Read the public half. It must be the only one of its kind in the place."""
    try:
        der = strict_der(body.pop("publicKeyMaterial"))
    except InvalidKey as problem:
        raise invalid_member("publicKeyMaterial", problem.message) from None
    body["fingerprint"] = fingerprint_of(der)
    body["publicKeyDer"] = base64.b64encode(der).decode()
    return hashlib.sha256(der).hexdigest()


def strict_der(material: str) -> bytes:
    """The DER in the material, as it was sent. Raises InvalidKey saying what is wrong with it."""
    key = read_public_pem(material.encode())
    found, around = pem.find_blocks(material)
    if len(found) != 1:
        raise InvalidKey(f"this has {len(found)} PEM blocks; import one public key at a time")
    if around.strip():
        raise InvalidKey("this has text before or after the PEM block; leave it out")
    try:
        der = base64.b64decode("".join((found[0].body or "").split()), validate=True)
    except ValueError:
        raise InvalidKey("this PEM public key is damaged: its body is not base64 alone") from None
    if der == public_der(key):
        return der
    if _NAMED_CURVE not in der:
        raise InvalidKey("this public key has explicit parameters; write it with the curve's name (secp384r1)")
    if len(der) < len(public_der(key)):
        raise InvalidKey("this public key's point is compressed; write it uncompressed (-conv_form uncompressed)")
    raise InvalidKey("this public key is not in DER, the one encoding that `openssl ec -pubout` writes")


def public_key(resource: Resource) -> PublicKey:
    """The public half of an imported key pair."""
    return _read(resource.body["publicKeyDer"])


@lru_cache(maxsize=1024)
def _read(der: str) -> PublicKey:
    return read_public_der(base64.b64decode(der))
