"""Responses of the edge.

Invariants
- CORS: any origin may read an error, since players in browsers are documented to report 403 and 404; tested with the
  IVS player 1.56.1. What only some origins may read names the player's origin, or has no Access-Control-Allow-Origin.
- Nothing is cached: each response is for one viewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokensvc.local_ivs.edge.errors import EdgeError, error_body
from tokensvc.origins import matches
from tokensvc.tokens.validation import RULE_HEADER

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_ALLOW_ORIGIN = "access-control-allow-origin"
ANY_ORIGIN = (_ALLOW_ORIGIN, "*")
_ERROR_HEADERS = (("content-type", "application/json"), ("cache-control", "no-store"), ANY_ORIGIN)


class PlaybackResponse(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def cors_headers(origin: str, allowed: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """The headers that let the player's page read what these origins may read; None stands for all origins."""
    if allowed is None:
        return (ANY_ORIGIN,)
    if origin and matches(origin, allowed):
        return ((_ALLOW_ORIGIN, origin), ("vary", "origin"))
    return (("vary", "origin"),)


def error_response(status: int, path: str, query: str, error: EdgeError) -> PlaybackResponse:
    """The response for an error; `path` and `query` as they were sent."""
    headers: tuple[tuple[str, str], ...] = _ERROR_HEADERS
    if error.rule:
        headers = (*headers, (RULE_HEADER, error.rule), ("access-control-expose-headers", RULE_HEADER))
    return PlaybackResponse(status, headers, error_body(path, query, error))
