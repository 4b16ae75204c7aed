"""THE HOT PATH: ask + grant + snapshot + now -> a draft, all of a token but its signature; draft -> token.

Rules of the file
- No await, no store, no file, no clock, no lock, no settings. What it needs is in its arguments.
- Every documented rule is checked before signing: the ask's own fields by `tokens/request.py`, what depends on time,
  policy and size here. A token that IVS would refuse is never drafted, so none is ever signed.
- Drafting and signing are two steps, because who wants many tokens takes the steps in turns: a signature fills the
  processor's caches with its tables, and what runs after it starts cold.
- Comparisons are written out where `min` would do: it costs as much as a function of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from tokensvc.aws.arn import parse_arn
from tokensvc.callers.policy import DEFAULT_TTL_SECONDS
from tokensvc.errors import FieldError, InvalidRequest, SubjectKeyLost
from tokensvc.jose.es384 import SIGNATURE_CHARS, PreparedKey, jws_compact, digest, signing_input
from tokensvc.tokens import claims as c
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.denylist import session_version
from tokensvc.tokens.keyring import SigningKey
from tokensvc.tokens.origins import join_origins
from tokensvc.tokens.request import Ads, TokenRequest
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_ids import viewer_id

REFRESH_AT_PERCENT = 80
"""A client should fetch its next token after this share of the present one's life."""
MAX_VIEWER_BOUND_TTL_SECONDS = c.TEN_MINUTES_SECONDS - c.EXP_SKEW_ALLOWANCE_SECONDS
"""Of a token with a viewer id or for a single use."""


class UnsignedToken(NamedTuple):
    """A token that wants nothing but its signature, and what its receiver must know about it. What is signed is left
    out of the repr: with a signature it would be the token."""

    signing_input: bytes
    digest: bytes
    key: PreparedKey
    """The key of the channel's place."""
    exp: int
    refresh_after: int
    viewer_id: str | None
    viewer_session_version: int | None
    requires_origin_header: bool

    def __repr__(self) -> str:
        return f"Draft(exp={self.exp})"

    def signed(self) -> str:
        """The token."""
        return self.with_signature(self.key.sign(self.digest))

    def with_signature(self, signature: bytes) -> str:
        """The token, once its signature is there."""
        return jws_compact(self.signing_input, signature)


def prepare(
    ask: TokenRequest, grant: TokenLimits, snapshot: Snapshot, now: int, new_uuid: Callable[[], object]
) -> UnsignedToken:
    """Prepare one token. Raises InvalidRequest naming the field, NoSigningKey, or ViewerDenied."""
    channel_arn, viewer = ask.channel_arn, ask.viewer_id
    key = snapshot.keyring.signing_key(parse_arn(channel_arn, "channel").account_region, now)
    if ask.subject is not None:
        if not snapshot.subject_key:
            raise SubjectKeyLost("the store has lost the key that turns subjects into viewer ids; see /readyz")
        viewer = viewer_id(snapshot.subject_key, grant.namespace, ask.subject)
    version = None
    if viewer is not None:
        version = session_version(now, snapshot.denylist.min_session_version(channel_arn, viewer, now))
    life_seconds = _ttl(ask, grant, key, viewer is not None or ask.single_use)
    exp = now + life_seconds

    claims: dict[str, Any] = {c.CHANNEL_ARN: channel_arn, c.EXP: exp}
    if viewer is not None:
        claims[c.VIEWER_ID] = viewer
        claims[c.VIEWER_SESSION_VERSION] = version
    if ask.allowed_origins is not None:
        claims[c.ALLOW_ORIGIN] = join_origins(ask.allowed_origins)
    if ask.strict_origin_enforcement:
        claims[c.STRICT_ORIGIN] = True
    if ask.single_use:
        claims[c.SINGLE_USE_UUID] = str(new_uuid())
    if ask.maximum_resolution is not None:
        claims[c.MAXIMUM_RESOLUTION] = ask.maximum_resolution
    if ask.ads is not None:
        claims |= _ads_claims(ask.ads)

    signed = signing_input(orjson.dumps(claims))
    if len(signed) + 1 + SIGNATURE_CHARS > c.TOKEN_MAX_BYTES:
        raise _too_large(ask, len(signed) + 1 + SIGNATURE_CHARS)
    refresh_after = now + life_seconds * REFRESH_AT_PERCENT // 100
    return UnsignedToken(
        signed, digest(signed), key.prepared, exp, refresh_after, viewer, version, ask.strict_origin_enforcement
    )


def _ttl(ask: TokenRequest, grant: TokenLimits, key: SigningKey, ties_viewer: bool) -> int:
    """How many seconds the token may start playback: what was asked for, or the default, within every limit."""
    seconds, ceiling, longest = ask.ttl_seconds, grant.max_ttl_seconds, key.longest_ttl_seconds
    if longest < ceiling:
        ceiling = longest
    if seconds is None:
        seconds = DEFAULT_TTL_SECONDS if ceiling > DEFAULT_TTL_SECONDS else ceiling
    elif seconds > ceiling:
        raise InvalidRequest([FieldError("ttlSeconds", f"must be at most {ceiling}, which policy allows this caller")])
    return MAX_VIEWER_BOUND_TTL_SECONDS if ties_viewer and seconds > MAX_VIEWER_BOUND_TTL_SECONDS else seconds


def _ads_claims(ads: Ads) -> dict[str, Any]:
    claims = {
        c.ADS_OPT_OUT: ads.opt_out,
        c.ADS_PLAYER_PARAMS: ads.player_params,
        c.ADS_PLAYBACK_CONFIG_NAME: ads.playback_config_name,
        c.ADS_REPORTING_MODE: ads.reporting_mode,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _too_large(ask: TokenRequest, size: int) -> InvalidRequest:
    """Name the fields that may be long, the only ones that can have caused it."""
    rule = f"makes a token of {size} bytes; IVS takes at most {c.TOKEN_MAX_BYTES}"
    errors = []
    if ask.allowed_origins:
        errors.append(FieldError("allowedOrigins", rule))
    if ask.ads is not None:
        errors.append(FieldError("ads", rule))
    return InvalidRequest(errors or [FieldError("channelArn", rule)])
