"""Authorization of a token request: caller + policy -> token limits, or a typed error.

Invariants
- A request for more than the policy allows is rejected, never silently reduced, except where the policy forces a value.
- Reads a snapshot and nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from tokensvc.callers.policy import Caller
from tokensvc.errors import AnonymousViewerNotAllowed, MaxTtlUnavailable
from tokensvc.tokens.claim_rules import apply_claim_rules
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import Snapshot


class TokenLimits(NamedTuple):
    """What policy allows a caller for one token request."""

    max_ttl_seconds: int
    namespace: str


class AuthorizedRequest(NamedTuple):
    """A token request as policy allows it."""

    request: TokenRequest
    """With everything that policy forces."""
    limits: TokenLimits


_token_limits = lru_cache(maxsize=1024)(TokenLimits)
"""Cached: there are few different values, and every token needs one."""


def authorize(caller: Caller, request: TokenRequest, snapshot: Snapshot) -> AuthorizedRequest:
    """What this caller gets for this request. Raises NotAllowed with the rule that forbids it, ClaimRequired or
    InvalidRequest naming the fields that its policy refuses, MaxTtlUnavailable while the deployment's limit is
    unknown."""
    policy = caller.policy
    caller.require_channel(request.channel_arn)
    if policy.has_claim_rules or caller.login is not None:
        request = apply_claim_rules(caller, request)
    if request.viewer_id is None and request.subject is None and not policy.allow_anonymous_viewers:
        raise AnonymousViewerNotAllowed(
            "viewerId or subject is required: a token without a viewer cannot be revoked, and this caller's policy "
            "does not allow anonymous viewers"
        )
    limit_seconds = snapshot.max_ttl_seconds
    if limit_seconds < 1:
        raise MaxTtlUnavailable("the deployment's limit on token lifetimes cannot be read from the store; see /readyz")
    if policy.max_ttl_seconds is not None:
        limit_seconds = min(limit_seconds, policy.max_ttl_seconds)
    return AuthorizedRequest(request, _token_limits(limit_seconds, policy.namespace))
