"""What a caller may do, and what it is granted.

Rules of the file
- A pattern is a channel ARN in which `*` stands for any run of characters; nothing else is special.
- A caller that was given nothing may nothing: no pattern matches no channel, scopes default to issuing alone.
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
"""A year: the highest ceiling that a store may hold."""
MAX_CONFIGURABLE_TTL_SECONDS = 604_800
"""A week: the highest ceiling that may be set. A key pair stays in IVS until the longest token that it signed has
ended, and IVS holds three: with a ceiling of weeks no key could be replaced for as long."""
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
    """What one caller may ask for. Values are checked where they come from: the command, and the store's row."""

    channels: tuple[str, ...]
    scopes: frozenset[str] = field(default=DEFAULT_SCOPES)
    max_ttl_seconds: int | None = None
    """None: the deployment's ceiling alone."""
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
"""The policy of a caller whose own cannot be read."""


class Caller(NamedTuple):
    """An authenticated backend or viewer app."""

    name: str
    policy: CallerPolicy

    def require_scope(self, scope: str) -> None:
        """Raise InsufficientScope unless the caller was given this scope."""
        if scope not in self.policy.scopes:
            raise InsufficientScope(f"this needs the scope {scope}, which the caller was not given")

    def require_channel(self, channel_arn: str) -> None:
        """Raise ChannelNotAllowed unless this channel, or `*` for all, matches one of the patterns."""
        if not self.policy.allows_channel(channel_arn):
            raise ChannelNotAllowed("none of the caller's channel patterns matches this channel")

    def require_channels(self, channel_arns: Iterable[str]) -> None:
        """The same of each channel of a request."""
        if not all(map(self.policy.allows_channel, channel_arns)):
            raise ChannelNotAllowed("none of the caller's channel patterns matches a channel of this request")


def check_pattern(pattern: str) -> str:
    """Return the pattern, or raise ValueError naming the form."""
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(
            "must be * or a channel ARN in which * matches anything: arn:aws:ivs:us-east-1:123456789012:channel/*"
        )
    return pattern


def check_scope(scope: str) -> str:
    """Return the scope, or raise ValueError listing those there are."""
    if scope not in SCOPES:
        raise ValueError(f"must be one of {', '.join(SCOPES)}")
    return scope
