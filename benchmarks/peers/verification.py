"""An independent check of the tokens: a peer that signs anything other than requested must not win.

Invariants
- PyJWT verifies all tokens, tokensvc's included; no code of tokensvc takes part.
"""

from __future__ import annotations

from typing import Any

import jwt

EXPECTED = {"aws:channel-arn", "aws:viewer-id", "aws:viewer-session-version", "exp"}


class InvalidToken(Exception):
    """A token is not what was requested."""


def verify_token(token: str, keys: list[Any], channel_arn: str, viewer_id: str) -> None:
    """Raises InvalidToken unless one of the keys verifies it, it has not expired, and its claims are as requested."""
    claims = _claims(token, keys, {"require": sorted(EXPECTED)})
    if claims.keys() != EXPECTED:
        raise InvalidToken(f"its claims are {sorted(claims)}, not {sorted(EXPECTED)}")
    if (claims["aws:channel-arn"], claims["aws:viewer-id"]) != (channel_arn, viewer_id):
        raise InvalidToken("it names a different channel or viewer than requested")


def verify_signature(token: str, keys: list[Any]) -> None:
    """Raises InvalidToken unless one of the keys verifies it: for a server that always signs the same claims."""
    _claims(token, keys, {"verify_exp": False})


def _claims(token: str, keys: list[Any], options: Any) -> dict[str, Any]:
    reason = "there is no key to verify it with"
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=["ES384"], options=options)
        except jwt.InvalidTokenError as error:
            reason = f"{type(error).__name__}: {error}"
    raise InvalidToken(reason)
