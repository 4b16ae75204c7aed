"""Tokens judged by a stranger: a peer that signs something else than asked for must not win.

Rules of the file
- PyJWT judges everyone, ours included; nothing of ours has a part in it.
"""

from __future__ import annotations

from typing import Any

import jwt

EXPECTED = {"aws:channel-arn", "aws:viewer-id", "aws:viewer-session-version", "exp"}


class InvalidToken(Exception):
    """A contender's token is not what was asked for."""


def verify_token(token: str, keys: list[Any], channel_arn: str, viewer_id: str) -> None:
    """Raises Wrong unless one of the keys verifies it, it lives, and it says just what was asked for."""
    claims = _claims(token, keys, {"require": sorted(EXPECTED)})
    if claims.keys() != EXPECTED:
        raise InvalidToken(f"its claims are {sorted(claims)}, not {sorted(EXPECTED)}")
    if (claims["aws:channel-arn"], claims["aws:viewer-id"]) != (channel_arn, viewer_id):
        raise InvalidToken("it names another channel or viewer than was asked for")


def verify_signature(token: str, keys: list[Any]) -> None:
    """The same of a contender that always signs the same: only the signature is looked at."""
    _claims(token, keys, {"verify_exp": False})


def _claims(token: str, keys: list[Any], options: Any) -> dict[str, Any]:
    reason = "no key was given"
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=["ES384"], options=options)
        except jwt.InvalidTokenError as failure:
            reason = f"{type(failure).__name__}: {failure}"
    raise InvalidToken(reason)
