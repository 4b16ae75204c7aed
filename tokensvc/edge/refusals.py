"""What the edge says to a player that it does not let in.

Rules of the file
- The form is IVS's own, observed: a JSON array with one object, `&` written `\\u0026` as Go writes it. Its `url` is
  path and query as they were sent, without the token.
- One text per rule of `core/playback.py`. Observed is the one for `segments`, which a missing token gets too; it is
  jwt-go's literal, so the others are INFERRED as that library's wording, or in its manner.
"""

from __future__ import annotations

import json
from urllib.parse import unquote_plus

TOKEN_PARAMETER = "token"  # noqa: S105 - the name of a parameter
ERROR_CODE = "invalid_playback_auth_token"

ERROR_TEXTS: dict[str, str] = {
    "size": "token is too large",
    "segments": "token contains an invalid number of segments",  # observed
    "encoding": "token is malformed",
    "header": "token is malformed",
    "algorithm": "signing method is invalid",
    "signature": "signature is invalid",
    "payload": "token is malformed",
    "channel": "token is not for this channel",
    "expiry": "token is expired",
    "not-yet": "token is not valid yet",
    "ten-minutes": "token expires too late",
    "viewer": "token has an invalid viewer",
    "revoked": "viewer session is revoked",
    "single-use": "token has already been used",
    "origins": "token has invalid origins",
    "strict-origin": "origin is not allowed",
    "resolution": "token has an invalid resolution",
    "ads": "token has invalid ads parameters",
}

SEVERAL_TOKENS = "several tokens were sent"
"""INFERRED: a query with more than one token is refused rather than read one way or the other."""
UNDECIDED = "token is unverifiable"

UNKNOWN_CHANNEL = ("Can not find channel", "transcode_does_not_exist")
"""INFERRED from a sister system with the same array: error and code for a channel that does not exist."""


def forbidden(path: str, query: str, text: str) -> bytes:
    """The body of a 403."""
    return _array(path, query, text, ERROR_CODE)


def not_found(path: str, query: str) -> bytes:
    """The body of a 404."""
    return _array(path, query, *UNKNOWN_CHANNEL)


def tokens_of(query: str) -> list[str]:
    """Every `token` parameter of a raw query string."""
    return [unquote_plus(value) for name, value in _pairs(query) if name == TOKEN_PARAMETER]


def _array(path: str, query: str, text: str, code: str) -> bytes:
    kept = "&".join(
        pair for pair, (name, _) in zip(_raw_pairs(query), _pairs(query), strict=True) if name != TOKEN_PARAMETER
    )
    url = f"{path}?{kept}" if kept else path
    body = json.dumps([{"url": url, "error": text, "error_code": code, "type": "error"}], separators=(",", ":"))
    for char in "&<>":
        body = body.replace(char, f"\\u{ord(char):04x}")
    return body.encode()


def _raw_pairs(query: str) -> list[str]:
    return [pair for pair in query.split("&") if pair]


def _pairs(query: str) -> list[tuple[str, str]]:
    split = (pair.partition("=") for pair in _raw_pairs(query))
    return [(unquote_plus(name), value) for name, _, value in split]
