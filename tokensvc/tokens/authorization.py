"""Who is asking, and what they may have: caller + policy -> a grant, or a typed refusal.

Rules of the file
- A key is looked up by its public id and compared by the digest of the whole key, in constant time; a caller that is
  unknown, disabled or expired gets the same words as one whose key is wrong.
- More than the policy allows is refused, never quietly made less.
- Reads a snapshot and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from tokensvc.callers.policy import Caller
from tokensvc.errors import AnonymousViewerNotAllowed, MaxTtlUnavailable, Unauthenticated
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import Snapshot

KEY_PREFIX = "tsk_"
_NO_DIGEST = hashlib.sha256(b"").digest()


class TokenLimits(NamedTuple):
    """What policy allows one caller for one ask."""

    max_ttl_seconds: int
    namespace: str


_token_limits = lru_cache(maxsize=1024)(TokenLimits)
"""There are few different ones, and one is wanted for each token."""


def key_digest(key: str) -> bytes:
    """What the store keeps of an API key. A key is 256 random bits, so a plain SHA-256 cannot be searched back."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_id_of(key: str) -> str:
    """The public part of `tsk_<id>_<secret>`; "" when it has another form."""
    parts = key.split("_", 2)
    return parts[1] if len(parts) == 3 and key.startswith(KEY_PREFIX) else ""


def authenticate(authorization: str, snapshot: Snapshot, now: float) -> Caller:
    """The caller behind an `Authorization: Bearer tsk_…` header. Raises Unauthenticated."""
    scheme, _, key = authorization.partition(" ")
    known = snapshot.secrets.get(key_id_of(key))
    same = hmac.compare_digest(key_digest(key), known.digest if known else _NO_DIGEST)
    if scheme.lower() != "bearer" or known is None or not same:
        raise Unauthenticated("an API key is needed: Authorization: Bearer tsk_…")
    if known.expires_at is not None and known.expires_at <= datetime.fromtimestamp(now, UTC):
        raise Unauthenticated("an API key is needed: Authorization: Bearer tsk_…")
    return known.caller


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
