"""Decides whether a request for a channel's file is admitted, where tokensvc itself guards the files.

Invariants
- `validation.py` decides about tokens, with the keys, revocations and denials of one snapshot. What goes on after a
  start is decided here by the rules that IVS documents for a running session: revocation and strict origins. One is
  added: a key that is compromised ends the sessions that its tokens have started, since anybody may have made them.
- A token in the query asks for a new start, as on IVS. A token in the Authorization header comes with every request of
  a player, so it continues the session that it has started, and is not validated or spent again.
- Spending a single use is the caller's: it needs the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.jose import es384
from tokensvc.jose.keypair import PublicKey
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
KEY_COMPROMISED = Refusal("signature", "the key that signed the session's token is compromised")
ORIGIN_MISSING = Refusal("strict-origin", "the player sent no valid Origin header, which strict enforcement requires")
ORIGIN_NOT_ALLOWED = Refusal("strict-origin", "the player's Origin header is not one of the allowed origins")


class KeyFinder:
    """Verifies signatures as `es384.verify` does, and finds out by which of the keys one was made."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        """`keys` by key id."""
        self.keys = keys
        self.key_id = ""
        """The id of the key that made the signature which was verified last."""

    def __call__(self, key: PublicKey, signed: bytes, signature: bytes) -> bool:
        is_valid = es384.verify(key, signed, signature)
        if is_valid:
            self.key_id = next(key_id for key_id, public in self.keys.items() if public is key)
        return is_valid


def attempt_start(
    snapshot: Snapshot, channel: Arn, token: str, origin: str, now: float
) -> tuple[PlaybackAttempt, KeyFinder]:
    """The attempt to start playback with everything that the snapshot knows. The single use counts as unspent. The
    viewer id is read before the signature is verified, which is harmless: the signature is verified in any case. Once
    the attempt is validated, the finder has the id of the signing key."""
    region = snapshot.keyring.region_keys.get(channel.account_region)
    finder = KeyFinder(region.verification_keys if region is not None else {})
    attempt = PlaybackAttempt(token, now, channel, [*finder.keys.values()], origin, spent=False, verify=finder)
    viewer_id = unverified_claims(token).get(c.VIEWER_ID)
    restriction = ViewerRestriction()
    if isinstance(viewer_id, str):
        restriction = snapshot.denylist.restriction(str(channel), viewer_id)
    attempt = attempt._replace(revoked_version=revoked_version(restriction), denied_until=restriction.denied_until)
    return attempt, finder


def revoked_version(restriction: ViewerRestriction) -> int:
    """The highest session version that a minimum excludes. Minimum versions count as revoked: a revocation sets
    both."""
    return restriction.minimum_version - 1 if restriction.minimum_version else NOTHING_REVOKED


def is_started_by(session: PlaybackSession, token: str) -> bool:
    """Whether this token has started this session."""
    return session.token_digest == token_digest(token)


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
    region = snapshot.keyring.region_keys.get(parse_arn(session.channel, "channel").account_region)
    withdrawn = region.withdrawn_keys.get(session.key_id) if region is not None else None
    if withdrawn is not None and withdrawn.is_compromised:
        return KEY_COMPROMISED
    if session.is_strict:
        if parse_origin(origin) is None:
            return ORIGIN_MISSING
        if session.origins is not None and not matches(origin, split_origins(session.origins)):
            return ORIGIN_NOT_ALLOWED
    return None
