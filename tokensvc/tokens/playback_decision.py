"""Decides whether a request for a channel's file is admitted, where tokensvc itself guards the files.

Invariants
- `validation.py` decides about tokens, with the keys, revocations and denials of one snapshot. What goes on after a
  start is decided here by the rules that IVS documents for a running session: revocation and strict origins.
- A token in the query asks for a new start, as on IVS. A token in the Authorization header comes with every request of
  a player, so it continues the session that it has started, and is not validated or spent again.
- Spending a single use is the caller's: it needs the store.
"""

from __future__ import annotations

from typing import NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.origins import matches, parse_origin, split_origins
from tokensvc.tokens import claims as c
from tokensvc.tokens.denylist import ViewerRestriction
from tokensvc.tokens.playback_session import PlaybackSession, token_digest
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.validation import (
    NOTHING_REVOKED,
    Outcome,
    PlaybackAttempt,
    RuleStatus,
    ValidationResult,
    unverified_claims,
)


class Refusal(NamedTuple):
    """Why a request is refused."""

    rule: str
    message: str


REVOKED = Refusal("revoked", "the viewer's session was revoked, or the viewer is denied")
ORIGIN_MISSING = Refusal("strict-origin", "the player sent no valid Origin header, which strict enforcement requires")
ORIGIN_NOT_ALLOWED = Refusal("strict-origin", "the player's Origin header is not one of the allowed origins")


def attempt_start(snapshot: Snapshot, channel: Arn, token: str, origin: str, now: float) -> PlaybackAttempt:
    """The attempt to start playback with everything that the snapshot knows. The single use counts as unspent. The
    viewer id is read before the signature is verified, which is harmless: the signature is verified in any case."""
    keys = snapshot.keyring.region_keys.get(channel.account_region)
    attempt = PlaybackAttempt(token, now, channel, None, origin, spent=False, revoked_version=NOTHING_REVOKED)
    viewer_id = unverified_claims(token).get(c.VIEWER_ID)
    restriction = ViewerRestriction()
    if isinstance(viewer_id, str):
        restriction = snapshot.denylist.restriction(str(channel), viewer_id)
    return attempt._replace(
        keys=list(keys.verification_keys.values()) if keys is not None else [],
        revoked_version=revoked_version(restriction),
        denied_until=restriction.denied_until,
    )


def revoked_version(restriction: ViewerRestriction) -> int:
    """The highest session version that a minimum excludes. Minimum versions count as revoked: a revocation sets
    both."""
    return restriction.minimum_version - 1 if restriction.minimum_version else NOTHING_REVOKED


def is_started_by(session: PlaybackSession | None, token: str) -> bool:
    """Whether this token has started this session."""
    return session is not None and session.token_digest == token_digest(token)


def refusal_of(result: ValidationResult) -> Refusal | None:
    """Why a token may not start playback; None if it may. A rule that could not be decided refuses, too."""
    if result.outcome is Outcome.ALLOW:
        return None
    found = result.failed_rule or next(r for r in result.rule_results if r.status is RuleStatus.UNKNOWN)
    return Refusal(found.rule, found.message)


def refusal_of_session(session: PlaybackSession, snapshot: Snapshot, origin: str, now: float) -> Refusal | None:
    """Why a running session may not go on; None if it may."""
    if session.viewer_id is not None:
        restriction = snapshot.denylist.restriction(session.channel, session.viewer_id)
        if session.version <= revoked_version(restriction) or restriction.denied_until > now:
            return REVOKED
    if session.is_strict:
        if parse_origin(origin) is None:
            return ORIGIN_MISSING
        if session.origins is not None and not matches(origin, split_origins(session.origins)):
            return ORIGIN_NOT_ALLOWED
    return None
