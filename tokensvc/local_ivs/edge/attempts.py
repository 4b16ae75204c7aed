"""Playback attempts with what IVS knows: the keys, revoked session versions and spent single uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.jose import es384
from tokensvc.local_ivs.edge import single_use
from tokensvc.local_ivs.edge.verified_tokens import VerifiedTokens
from tokensvc.local_ivs.propagation import EdgeView
from tokensvc.local_ivs.resources.playback_key_pairs import imported_key
from tokensvc.tokens import claims as c
from tokensvc.tokens.validation import NOTHING_REVOKED, PlaybackAttempt, unverified_claims


class StoredFacts(NamedTuple):
    """What was stored about a token's viewer and its single use."""

    spent: bool = False
    revoked_version: int = NOTHING_REVOKED


NOTHING_STORED = StoredFacts()


def attempt_with_keys(
    view: EdgeView, channel: Arn, token: str, origin: str, verified_tokens: VerifiedTokens | None = None
) -> PlaybackAttempt:
    """The attempt with the keys of the channel's account and region. What is stored about the token is unknown."""
    keys = [imported_key(pair) for pair in view.key_pairs(channel.account_region)]
    verify = es384.verify if verified_tokens is None else verified_tokens.verifier(keys)
    return PlaybackAttempt(token, view.now, channel, [key.public_key for key in keys], origin, verify=verify)


def stored_facts(view: EdgeView, channel: Arn, claims: Mapping[str, Any]) -> StoredFacts:
    """What is stored about a token with these claims. They need not be verified: a forged token is denied for its
    signature in any case."""
    viewer_id, uuid = claims.get(c.VIEWER_ID), claims.get(c.SINGLE_USE_UUID)
    return StoredFacts(
        isinstance(uuid, str) and single_use.is_spent(view.transaction, channel, uuid),
        view.revoked_version(str(channel), viewer_id) if isinstance(viewer_id, str) else NOTHING_REVOKED,
    )


def build_attempt(view: EdgeView, channel: Arn, token: str, origin: str) -> PlaybackAttempt:
    """The attempt with everything that IVS knows."""
    facts = stored_facts(view, channel, unverified_claims(token))
    return attempt_with_keys(view, channel, token, origin)._replace(**facts._asdict())
