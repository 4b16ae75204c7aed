"""THE HOT PATH: token request + limits + snapshot + now -> unsigned token -> token.

Invariants
- No await, store, file, clock, lock or settings: everything comes in as an argument.
- Every documented rule is checked before signing: `tokens/request.py` checks the request's own fields; what depends on
  time, policy and size is checked here. A token that IVS would refuse is never prepared, so it is never signed.
- Preparing and signing are separate steps, so that a batch can prepare all its tokens before it signs any: a signature
  fills the processor's caches with its tables, and what runs after it starts with cold caches.
- Comparisons are written out, because a call of `min` costs more than they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from tokensvc.aws.arn import parse_arn
from tokensvc.callers.policy import DEFAULT_TTL_SECONDS
from tokensvc.errors import FieldError, InvalidRequest, SubjectKeyLost
from tokensvc.jose.es384 import SIGNATURE_CHARS, PreparedKey, digest, jws_compact, signing_input
from tokensvc.origins import join_origins
from tokensvc.tokens import claims as c
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.denylist import session_version
from tokensvc.tokens.keyring import SigningKey
from tokensvc.tokens.request import Ads, TokenRequest, has_ten_minute_limit
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_ids import viewer_id

REFRESH_AT_PERCENT = 80
"""A client should fetch its next token when this percentage of the current token's lifetime has passed."""
MAX_VIEWER_BOUND_TTL_SECONDS = c.TEN_MINUTES_SECONDS - c.EXP_SKEW_ALLOWANCE_SECONDS
"""The longest lifetime of a token that has a viewer id or a single-use UUID."""


class UnsignedToken(NamedTuple):
    """A token that lacks only its signature, and what the response says about it. The repr leaves out the signing
    input: together with a signature it would be the token."""

    signing_input: bytes
    digest: bytes
    key: PreparedKey
    """The signing key of the channel's account and region."""
    exp: int
    refresh_after: int
    viewer_id: str | None
    viewer_session_version: int | None
    requires_origin_header: bool

    def __repr__(self) -> str:
        return f"UnsignedToken(exp={self.exp})"

    def signed(self) -> str:
        """Sign and return the token."""
        return self.with_signature(self.key.sign(self.digest))

    def with_signature(self, signature: bytes) -> str:
        """The token with a signature that was made elsewhere."""
        return jws_compact(self.signing_input, signature)


def prepare(
    request: TokenRequest, limits: TokenLimits, snapshot: Snapshot, now: int, new_uuid: Callable[[], object]
) -> UnsignedToken:
    """Prepare one token. `now` is in Unix seconds. Raises InvalidRequest naming the field, NoSigningKey,
    SubjectKeyLost or ViewerDenied."""
    channel_arn, viewer = request.channel_arn, request.viewer_id
    key = snapshot.keyring.signing_key(parse_arn(channel_arn, "channel").account_region, now)
    if request.subject is not None:
        if not snapshot.subject_key:
            raise SubjectKeyLost("the key that maps subjects to viewer ids is missing from the store; see /readyz")
        viewer = viewer_id(snapshot.subject_key, limits.namespace, request.subject)
    version = None
    if viewer is not None:
        version = session_version(now, snapshot.denylist.min_session_version(channel_arn, viewer, now))
    ttl_seconds = _ttl(request, limits, key)
    exp = now + ttl_seconds

    claims: dict[str, Any] = {c.CHANNEL_ARN: channel_arn, c.EXP: exp}
    if viewer is not None:
        claims[c.VIEWER_ID] = viewer
        claims[c.VIEWER_SESSION_VERSION] = version
    if request.allowed_origins is not None:
        claims[c.ALLOW_ORIGIN] = join_origins(request.allowed_origins)
    if request.strict_origin_enforcement:
        claims[c.STRICT_ORIGIN] = True
    if request.single_use:
        claims[c.SINGLE_USE_UUID] = str(new_uuid())
    if request.maximum_resolution is not None:
        claims[c.MAXIMUM_RESOLUTION] = request.maximum_resolution
    if request.ads is not None:
        claims |= _ads_claims(request.ads)

    signed = signing_input(orjson.dumps(claims))
    if len(signed) + 1 + SIGNATURE_CHARS > c.TOKEN_MAX_BYTES:
        raise _too_large(request, len(signed) + 1 + SIGNATURE_CHARS)
    refresh_after = now + ttl_seconds * REFRESH_AT_PERCENT // 100
    return UnsignedToken(
        signed, digest(signed), key.prepared, exp, refresh_after, viewer, version, request.strict_origin_enforcement
    )


def _ttl(request: TokenRequest, limits: TokenLimits, key: SigningKey) -> int:
    """The token's lifetime in seconds: the requested or the default one, within every limit."""
    seconds, limit_seconds, key_limit = request.ttl_seconds, limits.max_ttl_seconds, key.longest_ttl_seconds
    if key_limit < limit_seconds:
        limit_seconds = key_limit
    if seconds is None:
        seconds = DEFAULT_TTL_SECONDS if limit_seconds > DEFAULT_TTL_SECONDS else limit_seconds
    elif seconds > limit_seconds:
        raise InvalidRequest(
            [FieldError("ttlSeconds", f"exceeds this caller's limit of {limit_seconds} s")], by_policy=True
        )
    if seconds > MAX_VIEWER_BOUND_TTL_SECONDS and has_ten_minute_limit(
        request.viewer_id, request.subject, request.single_use
    ):
        return MAX_VIEWER_BOUND_TTL_SECONDS
    return seconds


def _ads_claims(ads: Ads) -> dict[str, Any]:
    claims = {
        c.ADS_OPT_OUT: ads.opt_out,
        c.ADS_PLAYER_PARAMS: ads.player_params,
        c.ADS_PLAYBACK_CONFIG_NAME: ads.playback_config_name,
        c.ADS_REPORTING_MODE: ads.reporting_mode,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _too_large(request: TokenRequest, size: int) -> InvalidRequest:
    """Name the fields that can be long enough to cause it."""
    rule = f"makes a token of {size} bytes; IVS accepts at most {c.TOKEN_MAX_BYTES}"
    errors = []
    if request.allowed_origins:
        errors.append(FieldError("allowedOrigins", rule))
    if request.ads is not None:
        errors.append(FieldError("ads", rule))
    return InvalidRequest(errors or [FieldError("channelArn", rule)])
