"""Finds the key that signed a token by trying the keys that `/.well-known/jwks.json` publishes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import jwt


def signing_key_ids(token: str, keys: Sequence[jwt.PyJWK]) -> list[str]:
    """The ids of the keys that verify it, at most one: tokens do not name their key, since IVS documents no `kid`."""
    verifying = []
    for key in keys:
        with suppress(jwt.InvalidSignatureError):
            jwt.decode(token, key, algorithms=["ES384"])
            verifying.append(str(key.key_id))
    assert len(verifying) <= 1
    return verifying
