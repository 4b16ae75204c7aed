"""Callers and their policies: what a caller may request, what its tokens must have, and how often it may ask.

Invariants
- A pattern is a channel ARN in which `*` matches any run of characters; no other character is special.
- Nothing is allowed by default: without patterns no channel matches, and the only default scope is issuing tokens.
- A policy is immutable and hashable, so that callers with equal policies share one object.
- The values are checked where they enter: `policy_document.py` reads files, options and rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

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
    "audit:read",
)
DEFAULT_SCOPES = frozenset({"tokens:issue"})
VIEWER_APP_SCOPES = frozenset({"tokens:issue", "tokens:explain"})
"""What a viewer app may have: its bearer tokens belong to viewers, and a viewer administers nothing."""
ALL_CHANNELS = "*"
_PATTERN = re.compile(r"\*|arn:aws:ivs:[a-z0-9*-]+:[0-9*]+:channel/[A-Za-z0-9*-]+")


BEARER_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
"""The signature algorithms of bearer tokens (RFC 7518, section 3.1; RFC 8037, section 3.1). Never HS256 and its like,
whose key is a shared secret, and never `none`."""
MAX_LEEWAY_SECONDS = 30
Resolution = Literal["SD", "HD", "FULL_HD"]


class Rate(NamedTuple):
    """How many tokens may be requested: `per_minute` in the long run, `burst` at once."""

    per_minute: int
    burst: int


@dataclass(frozen=True)
class RateLimits:
    """The limits on token requests of one caller. None: no limit."""

    caller: Rate | None = None
    """For all its requests together."""
    viewer: Rate | None = None
    """For each of its viewers."""
    channel: Rate | None = None
    """For each of its channels."""


@dataclass(frozen=True)
class ClaimRules:
    """What the tokens of a caller must have. The defaults state no rule."""

    allowed_origins: tuple[str, ...] = ()
    """The origins of its tokens. Where they are required, a request lists some of these, or origins that a `*` in them
    covers. Empty: no rule."""
    strict_origin_enforcement: bool = False
    single_use: bool = False
    maximum_resolution: Resolution | None = None
    """The highest resolution that a token may allow."""


@dataclass(frozen=True)
class BearerPolicy:
    """Whose bearer tokens a viewer app presents: JWTs of this issuer for this audience. At most one caller has the same
    issuer and audience."""

    issuer: str
    """The `iss` claim, exactly. Its JWK Set is found by OpenID Connect Discovery unless `jwks_url` is given."""
    audience: str
    """A value of the `aud` claim."""
    algorithms: tuple[str, ...] = ("RS256",)
    jwks_url: str | None = None
    leeway_seconds: int = MAX_LEEWAY_SECONDS
    """How far the issuer's clock may be off."""
    viewer_claim: str = "sub"
    """The claim that identifies the viewer. Its tokens are for this subject and never for another."""
    channels_claim: str | None = None
    """The claim that lists the ARNs of the viewer's channels; None: every channel of the policy."""
    required_claims: tuple[tuple[str, tuple[str | int | bool, ...]], ...] = ()
    """Claims that a bearer token must have, each with the values that are accepted."""


NO_LIMITS = RateLimits()
NO_RULES = ClaimRules()


@dataclass(frozen=True)
class CallerPolicy:
    """What one caller may request."""

    channels: tuple[str, ...]
    scopes: frozenset[str] = field(default=DEFAULT_SCOPES)
    max_ttl_seconds: int | None = None
    """None: only the deployment's limit applies."""
    allow_anonymous_viewers: bool = False
    namespace: str = "default"
    """Subjects of two namespaces never share a viewer id."""
    required: ClaimRules = NO_RULES
    """What a request must ask for; it is rejected otherwise."""
    forced: ClaimRules = NO_RULES
    """What its tokens get, whatever a request asks for."""
    limits: RateLimits = NO_LIMITS
    bearer: BearerPolicy | None = None
    """For viewer apps, which present bearer tokens instead of API keys; None for backends."""
    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may call as this caller, in addition to those of the deployment."""
    audit_tokens: bool = False
    """Whether each of its tokens gets an audit record."""

    @cached_property
    def has_claim_rules(self) -> bool:
        """Whether there is a rule on the claims of its tokens."""
        return self.required != NO_RULES or self.forced != NO_RULES

    @cached_property
    def forced_fields(self) -> Mapping[str, Any]:
        """What `forced` sets in a token request, by the names of its fields."""
        rules, forced = self.forced, dict[str, Any]()
        if rules.allowed_origins:
            forced["allowed_origins"] = list(rules.allowed_origins)
        if rules.strict_origin_enforcement:
            forced["strict_origin_enforcement"] = True
        if rules.single_use:
            forced["single_use"] = True
        if rules.maximum_resolution is not None:
            forced["maximum_resolution"] = rules.maximum_resolution
        return MappingProxyType(forced)

    @cached_property
    def _matches(self) -> re.Pattern[str]:
        return re.compile("|".join(".*".join(map(re.escape, p.split("*"))) for p in self.channels) or r"(?!)")

    def allows_channel(self, channel_arn: str) -> bool:
        """Whether one of the patterns matches the whole ARN."""
        return self._matches.fullmatch(channel_arn) is not None


DENY_ALL = CallerPolicy(channels=(), scopes=frozenset())
"""The policy of a caller whose own policy cannot be read."""


class ViewerLogin(NamedTuple):
    """What a verified bearer token says about the viewer who presents it."""

    subject: str
    """The only viewer that its tokens may be for."""
    channel_arns: frozenset[str] | None = None
    """The only channels that its tokens may be for; None: those of the policy."""

    def __repr__(self) -> str:
        """Without the viewer."""
        return f"ViewerLogin(channel_arns={self.channel_arns})"


class Caller(NamedTuple):
    """An authenticated backend or viewer app."""

    name: str
    policy: CallerPolicy
    key_id: str = ""
    """The public id of the API key that was presented; "" for a bearer token."""
    login: ViewerLogin | None = None
    """The viewer whose bearer token was presented; None for an API key."""

    def allows_channel(self, channel_arn: str) -> bool:
        """Whether the policy, and the viewer's bearer token if there is one, allow this channel."""
        if (
            self.login is not None
            and self.login.channel_arns is not None
            and channel_arn not in self.login.channel_arns
        ):
            return False
        return self.policy.allows_channel(channel_arn)

    def require_scope(self, scope: str) -> None:
        """Raise InsufficientScope unless the caller has this scope."""
        if scope not in self.policy.scopes:
            raise InsufficientScope(
                f"this request requires the scope {scope}, which the caller does not have", subject={"scope": scope}
            )

    def require_channel(self, channel_arn: str) -> None:
        """Raise ChannelNotAllowed unless this channel, or `*` for all, matches one of the patterns."""
        allows = self.policy.allows_channel if self.login is None else self.allows_channel
        if not allows(channel_arn):
            raise ChannelNotAllowed("the caller's channel patterns do not include this channel")

    def require_channels(self, channel_arns: Iterable[str]) -> None:
        """Raise ChannelNotAllowed unless every channel of a request matches one of the patterns."""
        if not all(map(self.allows_channel, channel_arns)):
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
