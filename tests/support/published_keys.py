"""Finds the key that signed a token by trying the keys that `/.well-known/jwks.json` publishes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import jwt


def signers(token: str, keys: Sequence[jwt.PyJWK]) -> list[str]:
    """The ids of the keys that verify it, at most one: tokens do not name their key, since IVS documents no `kid`."""
    found = []
    for key in keys:
        with suppress(jwt.InvalidSignatureError):
            jwt.decode(token, key, algorithms=["ES384"])
            found.append(str(key.key_id))
    assert len(found) <= 1
    return found
