"""Who is asking, and what they may have: caller + policy -> a grant, or a typed refusal.

Rules of the file
- A key is looked up by its public id and compared by the digest of the whole key, in constant time; a caller that is
  unknown, disabled or expired gets the same words as one whose key is wrong.
- More than the policy allows is refused, never quietly made less.
- Reads a snapshot and nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from tokensvc.callers.policy import Caller
from tokensvc.errors import AnonymousViewerNotAllowed, MaxTtlUnavailable
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import Snapshot


class TokenLimits(NamedTuple):
    """What policy allows one caller for one ask."""

    max_ttl_seconds: int
    namespace: str


_token_limits = lru_cache(maxsize=1024)(TokenLimits)
"""There are few different ones, and one is wanted for each token."""


def authorize(caller: Caller, ask: TokenRequest, snapshot: Snapshot) -> TokenLimits:
    """What this caller is granted for this ask. Raises NotAllowed with the rule that forbids it."""
    policy = caller.policy
    caller.require_channel(ask.channel_arn)
    if ask.viewer_id is None and ask.subject is None and not policy.allow_anonymous_viewers:
        raise AnonymousViewerNotAllowed(
            "viewerId or subject is needed: a token without a viewer cannot be revoked, and this caller's policy "
            "does not allow anonymous viewers"
        )
    ceiling = snapshot.max_ttl_seconds
    if ceiling < 1:
        raise MaxTtlUnavailable("the store's limit for the life of tokens cannot be read; see /readyz")
    if policy.max_ttl_seconds is not None:
        ceiling = min(ceiling, policy.max_ttl_seconds)
    return _token_limits(ceiling, policy.namespace)
