"""Callers and their policies: which channels, scopes and lifetimes a caller may request.

Invariants
- A pattern is a channel ARN in which `*` matches any run of characters; no other character is special.
- Nothing is allowed by default: without patterns no channel matches, and the only default scope is issuing tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tokensvc.errors import ChannelNotAllowed, InsufficientScope

DEFAULT_TTL_SECONDS = 300
MAX_STORABLE_TTL_SECONDS = 31_536_000
"""A year: the highest limit on token lifetimes that a store may hold."""
MAX_CONFIGURABLE_TTL_SECONDS = 604_800
"""A week: the highest limit on token lifetimes that may be set. A key pair stays in IVS until the longest token that it
signed has expired, and IVS holds three: with a limit of weeks no key could be replaced for weeks."""
SCOPES = (
    "tokens:issue",
    "tokens:explain",
    "revocations:write",
    "revocations:read",
    "keys:read",
    "keys:admin",
)
DEFAULT_SCOPES = frozenset({"tokens:issue"})
ALL_CHANNELS = "*"
_PATTERN = re.compile(r"\*|arn:aws:ivs:[a-z0-9*-]+:[0-9*]+:channel/[A-Za-z0-9*-]+")


@dataclass(frozen=True)
class CallerPolicy:
    """What one caller may request. Values are checked where they enter: by the CLI, and when a row is read."""

    channels: tuple[str, ...]
    scopes: frozenset[str] = field(default=DEFAULT_SCOPES)
    max_ttl_seconds: int | None = None
    """None: only the deployment's limit applies."""
    allow_anonymous_viewers: bool = False
    namespace: str = "default"
    """Subjects of two namespaces never share a viewer id."""

    @cached_property
    def _matches(self) -> re.Pattern[str]:
        return re.compile("|".join(".*".join(map(re.escape, p.split("*"))) for p in self.channels) or r"(?!)")

    def allows_channel(self, channel_arn: str) -> bool:
        """Whether one of the patterns matches the whole ARN."""
        return self._matches.fullmatch(channel_arn) is not None


DENY_ALL = CallerPolicy(channels=(), scopes=frozenset())
"""The policy of a caller whose own policy cannot be read."""


class Caller(NamedTuple):
    """An authenticated backend or viewer app."""

    name: str
    policy: CallerPolicy

    def require_scope(self, scope: str) -> None:
        """Raise InsufficientScope unless the caller has this scope."""
        if scope not in self.policy.scopes:
            raise InsufficientScope(
                f"this request requires the scope {scope}, which the caller does not have", subject={"scope": scope}
            )

    def require_channel(self, channel_arn: str) -> None:
        """Raise ChannelNotAllowed unless this channel, or `*` for all, matches one of the patterns."""
        if not self.policy.allows_channel(channel_arn):
            raise ChannelNotAllowed("the caller's channel patterns do not include this channel")

    def require_channels(self, channel_arns: Iterable[str]) -> None:
        """Raise ChannelNotAllowed unless every channel of a request matches one of the patterns."""
        if not all(map(self.policy.allows_channel, channel_arns)):
            raise ChannelNotAllowed("the caller's channel patterns do not include every channel of this request")


def check_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValueError stating the required form."""
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(
            "must be * or a channel ARN in which * matches anything: arn:aws:ivs:us-east-1:123456789012:channel/*"
        )
    return pattern


def check_scope(scope: str) -> str:
    """Return the scope. Raises ValueError listing the valid ones."""
    if scope not in SCOPES:
        raise ValueError(f"must be one of {', '.join(SCOPES)}")
    return scope
