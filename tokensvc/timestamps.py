"""Timestamps: RFC 3339 in UTC, in JSON with whole seconds, in log lines with milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


@lru_cache(maxsize=4096)
def rfc3339(seconds: int) -> str:
    """Unix seconds as `2026-11-21T10:00:00Z`. Cached, because the tokens of one second share their timestamps."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_milliseconds(seconds: float) -> str:
    """Unix seconds as `2026-11-21T10:00:00.122Z`."""
    return f"{rfc3339(int(seconds))[:-1]}.{int(seconds % 1 * 1000):03d}Z"


def rfc3339_of(at: datetime) -> str:
    """An aware datetime as `2026-11-21T10:00:00Z`."""
    return rfc3339(int(at.timestamp()))


def unix_seconds(text: object) -> int:
    """The inverse of `rfc3339`; fractions of a second are dropped. Raises ValueError naming the form."""
    if isinstance(text, str) and _RFC3339.fullmatch(text):
        try:
            return int(datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text.upper())).timestamp() // 1)
        except (ValueError, OverflowError):  # a date or a time that does not exist
            pass
    raise ValueError("must be an RFC 3339 timestamp with an offset, such as 2026-11-21T10:00:00Z")
