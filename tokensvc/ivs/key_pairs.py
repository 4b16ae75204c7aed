"""Playback key pairs: what is theirs alone.

Rules of the file
- Only the public half ever comes here, and it is kept as DER so that one key has one spelling.
- IVS user guide, "Create or Import a Playback Key": P-384, PEM. INFERRED: every other PEM label is refused, and a
  public half that is known is a conflict before the quota is looked at.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tokensvc.core.arn import Arn
from tokensvc.core.keypair import PublicKey, fingerprint, public_der, read_public_der, read_public_pem
from tokensvc.errors import InvalidKey
from tokensvc.ivs.call import Body, Call
from tokensvc.ivs.refusals import invalid_member
from tokensvc.ports.resources import Resource

DEFAULTS: Mapping[str, Any] = {
    "name": "",  # INFERRED: AWS's examples show an absent name both as "" and left out
    "tags": {},
}


def finish(_: Call, __: Arn, ___: str, body: Body) -> str:
    """Read the public half. It must be the only one of its kind in the place."""
    try:
        key = read_public_pem(body.pop("publicKeyMaterial").encode())
    except InvalidKey as problem:
        raise invalid_member("publicKeyMaterial", problem.message) from None
    der = public_der(key)
    body["fingerprint"] = fingerprint(key)
    body["publicKeyDer"] = base64.b64encode(der).decode()
    return hashlib.sha256(der).hexdigest()


def public_key(resource: Resource) -> PublicKey:
    """The public half of an imported key pair."""
    return _read(resource.body["publicKeyDer"])


@lru_cache(maxsize=1024)
def _read(der: str) -> PublicKey:
    return read_public_der(base64.b64decode(der))
