"""Tokens judged by a stranger: a peer that signs something else than asked for must not win.

Rules of the file
- PyJWT judges everyone, ours included; nothing of ours has a part in it.
"""

from __future__ import annotations

from typing import Any

import jwt

EXPECTED = {"aws:channel-arn", "aws:viewer-id", "aws:viewer-session-version", "exp"}


class Wrong(Exception):
    """A contender's token is not what was asked for."""


def judge(token: str, keys: list[Any], channel_arn: str, viewer_id: str) -> None:
    """Raises Wrong unless one of the keys verifies it, it lives, and it says just what was asked for."""
    claims = _claims(token, keys, {"require": sorted(EXPECTED)})
    if claims.keys() != EXPECTED:
        raise Wrong(f"its claims are {sorted(claims)}, not {sorted(EXPECTED)}")
    if (claims["aws:channel-arn"], claims["aws:viewer-id"]) != (channel_arn, viewer_id):
        raise Wrong("it names another channel or viewer than was asked for")


def judge_signature(token: str, keys: list[Any]) -> None:
    """The same of a contender that always signs the same: only the signature is looked at."""
    _claims(token, keys, {"verify_exp": False})


def _claims(token: str, keys: list[Any], options: Any) -> dict[str, Any]:
    why = "no key was given"
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=["ES384"], options=options)
        except jwt.InvalidTokenError as failure:
            why = f"{type(failure).__name__}: {failure}"
    raise Wrong(why)
