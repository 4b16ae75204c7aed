"""Bearer tokens of viewer apps: JWTs of the issuers that callers' policies name.

Invariants
- Nothing of a token counts before its signature is verified, except which caller, key and algorithm to verify it with.
- Algorithms come from the caller's policy. Keys come from the issuer's set alone: headers that bring or point to a key
  (`jku`, `jwk`, `x5u`, `x5c`), critical headers and nested tokens are refused (RFC 8725, sections 2 and 3).
- The cache holds only that a text verified under a key, and the claims that its policy names, for five minutes at most:
  a token may have hundreds of others. Whether the key is still in the set, the times, the caller and its policy are
  judged anew each time; under another policy, the token is verified again.
- The client gets one text for all reasons; the reason is for the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import jwt

from tokensvc.callers.bounded_map import BoundedMap
from tokensvc.callers.jwks import IssuerKey, IssuerKeys
from tokensvc.callers.policy import BearerPolicy, Caller, ViewerLogin
from tokensvc.errors import Unauthenticated
from tokensvc.jose.strict_json import read_object

MESSAGE = "bearer token not accepted"
MAX_LENGTH = 8 * 1024
MAX_KID_LENGTH = 256
MAX_SUBJECT_LENGTH = 1024
"""As for the `subject` of a request."""
MAX_AUDIENCES = 16
MAX_CHANNELS = 1000
CACHE_SECONDS = 300.0
CACHE_SIZE = 20_000
"""Tokens that are remembered at most."""
_KEY_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c"})
Bearers = Mapping[tuple[str, str], Caller]
"""Viewer apps by issuer and audience."""


class BearerReason(StrEnum):
    """Why a bearer token is not accepted."""

    TOO_LONG = "too_long"
    NESTED = "nested"
    MALFORMED = "malformed"
    CRITICAL_HEADER = "critical_header"
    KEY_IN_HEADER = "key_in_header"
    INVALID_KID = "invalid_kid"
    UNKNOWN_ISSUER = "unknown_issuer"
    AMBIGUOUS_AUDIENCE = "ambiguous_audience"
    ALGORITHM = "algorithm_not_allowed"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "wrong_signature"
    EXPIRED = "bearer_expired"
    NO_EXPIRY = "no_expiry"
    NOT_YET_VALID = "not_yet_valid"
    NO_VIEWER = "no_viewer"
    CHANNELS = "invalid_channels"
    REQUIRED_CLAIM = "required_claim"


class UnverifiedBearer(NamedTuple):
    """What a token says about how to verify it."""

    algorithm: str
    kid: str | None
    issuer: str
    audiences: tuple[str, ...]


class VerifiedBearer(NamedTuple):
    """A token whose signature is verified: what a cache may keep of it."""

    unverified: UnverifiedBearer
    key: IssuerKey
    policy: BearerPolicy
    claims: Mapping[str, Any]
    """Those that `login_of` reads under this policy."""
    verified_at: float
    """Monotonic clock, in seconds."""

    def __repr__(self) -> str:
        """Without the claims: they describe a person."""
        return f"VerifiedBearer(issuer={self.unverified.issuer!r})"


def rejected(reason: BearerReason, caller: str = "") -> Unauthenticated:
    """The error for a token that is not accepted. `caller` is the one that it was verified for."""
    return Unauthenticated(MESSAGE, credentials_sent=True, reason=reason, caller=caller)


def read_bearer(token: str) -> UnverifiedBearer:
    """Read how to verify a token. Raises Unauthenticated."""
    if len(token) > MAX_LENGTH:
        raise rejected(BearerReason.TOO_LONG)
    if token.count(".") != 2:
        raise rejected(BearerReason.NESTED if token.count(".") == 4 else BearerReason.MALFORMED)
    try:
        header, claims = (read_object(jwt.utils.base64url_decode(part)) for part in token.split(".")[:2])
    except ValueError:
        raise rejected(BearerReason.MALFORMED) from None
    if "crit" in header or "b64" in header:
        raise rejected(BearerReason.CRITICAL_HEADER)
    if _KEY_HEADERS & header.keys():
        raise rejected(BearerReason.KEY_IN_HEADER)
    if "cty" in header or "enc" in header or "zip" in header:
        raise rejected(BearerReason.NESTED)
    algorithm, kid, issuer, audience = header.get("alg"), header.get("kid"), claims.get("iss"), claims.get("aud")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID_LENGTH):
        raise rejected(BearerReason.INVALID_KID)
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(algorithm, str) or not isinstance(issuer, str) or not isinstance(audiences, list):
        raise rejected(BearerReason.MALFORMED)
    if len(audiences) > MAX_AUDIENCES or not all(isinstance(value, str) for value in audiences):
        raise rejected(BearerReason.MALFORMED)
    return UnverifiedBearer(algorithm, kid, issuer, tuple(audiences))


def caller_of(bearer: UnverifiedBearer, bearers: Bearers) -> tuple[Caller, BearerPolicy]:
    """The one viewer app that a token is for. Raises Unauthenticated."""
    found = {c.name: c for audience in bearer.audiences if (c := bearers.get((bearer.issuer, audience))) is not None}
    if len(found) > 1:
        raise rejected(BearerReason.AMBIGUOUS_AUDIENCE)
    caller = next(iter(found.values()), None)
    if caller is None or caller.policy.bearer is None:
        raise rejected(BearerReason.UNKNOWN_ISSUER)
    if bearer.algorithm not in caller.policy.bearer.algorithms or bearer.algorithm.startswith("HS"):
        raise rejected(BearerReason.ALGORITHM)
    return caller, caller.policy.bearer


def verify_signature(token: str, algorithm: str, key: IssuerKey) -> Mapping[str, Any]:
    """The claims of a token that this key signed. Raises Unauthenticated."""
    try:
        decoded = jwt.PyJWS().decode_complete(token, key.public_key(algorithm), algorithms=[algorithm])
        return read_object(decoded["payload"])
    except (jwt.PyJWTError, ValueError):
        raise rejected(BearerReason.SIGNATURE) from None


def login_of(claims: Mapping[str, Any], policy: BearerPolicy, name: str, now: float) -> ViewerLogin:
    """The viewer of a verified token, judged at `now` in Unix seconds (RFC 7519, section 4.1). Raises
    Unauthenticated."""
    expires, not_before, issued = (claims.get(claim) for claim in ("exp", "nbf", "iat"))
    if expires is None or not _is_time(expires):
        raise rejected(BearerReason.NO_EXPIRY, name)
    if expires + policy.leeway_seconds <= now:
        raise rejected(BearerReason.EXPIRED, name)
    for begins in (not_before, issued):
        if begins is not None and not (_is_time(begins) and begins - policy.leeway_seconds <= now):
            raise rejected(BearerReason.NOT_YET_VALID, name)
    for claim, accepted in policy.required_claims:
        value = claims.get(claim)
        if not any(type(value) is type(one) and value == one for one in accepted):
            raise rejected(BearerReason.REQUIRED_CLAIM, name)
    subject = claims.get(policy.viewer_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise rejected(BearerReason.NO_VIEWER, name)
    if policy.channels_claim is None:
        return ViewerLogin(subject)
    channels = claims.get(policy.channels_claim)
    arns = [channels] if isinstance(channels, str) else channels
    if not isinstance(arns, list) or len(arns) > MAX_CHANNELS or not all(isinstance(arn, str) for arn in arns):
        raise rejected(BearerReason.CHANNELS, name)
    return ViewerLogin(subject, frozenset(arns))


def _claims_of(policy: BearerPolicy) -> list[str]:
    """The claims that `login_of` reads."""
    required = [claim for claim, _ in policy.required_claims]
    optional = [policy.channels_claim] if policy.channels_claim is not None else []
    return ["exp", "nbf", "iat", policy.viewer_claim, *optional, *required]


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class BearerVerifier:
    """Verifies tokens, and remembers those that are verified. `now` is in Unix seconds, `monotonic` in seconds of the
    monotonic clock."""

    def __init__(self, make_keys: type[IssuerKeys] = IssuerKeys) -> None:
        self._make_keys = make_keys
        self._issuers: dict[tuple[str, str | None], IssuerKeys] = {}
        self._verified: BoundedMap[bytes, VerifiedBearer] = BoundedMap(CACHE_SIZE)

    def cached(self, token: str, bearers: Bearers, now: float, monotonic: float) -> Caller | None:
        """The caller of a token that is remembered; None if it has to be verified. Raises Unauthenticated when it is
        verified and not accepted."""
        if len(token) > MAX_LENGTH:
            return None
        verified = self._verified.get(_digest(token))
        if verified is None or monotonic - verified.verified_at > CACHE_SECONDS:
            return None
        caller, policy = caller_of(verified.unverified, bearers)
        if policy != verified.policy:
            return None
        if not self.keys(policy).holds(verified.key, monotonic) or not verified.key.fits(verified.unverified.algorithm):
            return None
        return caller._replace(login=login_of(verified.claims, policy, caller.name, now))

    def keys(self, policy: BearerPolicy) -> IssuerKeys:
        """The keys of a policy's issuer."""
        source = (policy.issuer, policy.jwks_url)
        keys = self._issuers.get(source)
        if keys is None:
            keys = self._issuers.setdefault(source, self._make_keys(*source))
        return keys

    def key_set_ages(self, bearers: Bearers, monotonic: float) -> dict[str, float]:
        """By issuer, the age in seconds of the oldest key set that was fetched for one of these viewer apps."""
        ages: dict[str, float] = {}
        for caller in bearers.values():
            policy = caller.policy.bearer
            keys = self._issuers.get((policy.issuer, policy.jwks_url)) if policy is not None else None
            age = keys.age_seconds(monotonic) if keys is not None else None
            if policy is not None and age is not None:
                ages[policy.issuer] = max(age, ages.get(policy.issuer, 0.0))
        return ages

    def verify(self, token: str, bearers: Bearers, now: float, monotonic: float) -> Caller:
        """Verify a token with the keys at hand, and remember it. Raises Unauthenticated or IssuerUnavailable."""
        unverified = read_bearer(token)
        caller, policy = caller_of(unverified, bearers)
        key = self.keys(policy).find(unverified.kid, unverified.algorithm, monotonic)
        if key is None:
            raise rejected(BearerReason.UNKNOWN_KEY)
        claims = verify_signature(token, unverified.algorithm, key)
        login = login_of(claims, policy, caller.name, now)
        kept = {claim: claims[claim] for claim in _claims_of(policy) if claim in claims}
        self._verified.put(_digest(token), VerifiedBearer(unverified, key, policy, kept, monotonic))
        return caller._replace(login=login)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
