"""Instants as JSON shows them: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def rfc3339(seconds: int) -> str:
    """Unix seconds as `2026-11-21T10:00:00Z`. Tokens of one second share their instants, so they are remembered."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
