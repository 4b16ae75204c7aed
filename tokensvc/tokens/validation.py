"""THE PLAYBACK RULES: one ordered table that decides whether a token may start playback, and its interpreter.

Invariants
- The rules are applied in the order of `RULES`, and the first one that fails names the denial. The edge applies the
  table, `explain` prints it, readiness runs it on a probe. Nothing else decides about a token.
- Form and signature come before the payload: a token with a changed byte is denied for its form or its signature, never
  for what it claims. All the same, every rule is evaluated, so that `explain` shows everything that is wrong together;
  while the signature cannot be verified (the public key is not known here) the outcome stays indeterminate.
- When no rule fails and only IVS knows the rest (revoked sessions, used single-use tokens), the outcome is conditional.
- Strict where IVS's documentation is silent: a token that IVS might refuse is denied here, because that shows a tester
  more than the opposite. What is inferred is marked as such, beside the rule.
- Each rule has its error response in `local_ivs/edge/errors.py`; a test compares the two.
- None in an attempt means that the value is unknown; it never means "none".
- A message says what a rule found without repeating the token, a key or a viewer id.
- The first paragraph of a rule's docstring says what it requires; `docs/reference/local-ivs.md` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.jose import es384
from tokensvc.jose.keypair import PublicKey
from tokensvc.jose.strict_json import read_object
from tokensvc.origins import check_origin, matches, parse_origin, split_origins
from tokensvc.timestamps import rfc3339
from tokensvc.tokens import claims as c

NOTHING_REVOKED = -(2**63) - 1
"""Below every session version (a signed 64-bit integer), so that comparisons need no special case."""
TOKEN_PARAMETER = "token"  # noqa: S105 - the name of a parameter
"""The query parameter of a playback URL that holds the token."""
RULE_HEADER = "tokensvc-rule"
"""The response header that names the rule by which playback is denied. IVS sends nothing like it."""


class RuleStatus(StrEnum):
    """The status of one rule."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a rule failed, where it can fail in several ways, or which harmless mistake it found. Error texts and
    programs depend on it, never on the message."""

    UNSPECIFIED = ""
    """The reason that the rule's name states, as for a rule that can fail in only one way."""
    EMPTY = "empty"
    MISSING = "missing"
    MALFORMED = "malformed"
    """A claim whose type or form is not the documented one."""
    MILLISECONDS = "milliseconds"
    UNSIGNED = "unsigned"
    DER_SIGNATURE = "der_signature"
    """An ECDSA signature in ASN.1 DER (RFC 3279, 2.2.3), as most libraries make it, where JWS has r||s (RFC 7518,
    3.4)."""
    ORIGIN_WITH_PATH = "origin_with_path"
    """A path, a query or a trailing slash behind an origin."""
    VIEWER_DENIED = "viewer_denied"
    """The deployment denies the viewer tokens."""
    KEY_ID = "key_id"
    """A `kid` in the header, which is harmless: IVS documents none."""
    VIEWER_IN_SUB = "viewer_in_sub"
    """A `sub` and no viewer id, which is harmless for playback, but such a token cannot be revoked."""
    VERSION_WITHOUT_VIEWER = "version_without_viewer"
    """A session version and no viewer id: harmless and without effect."""


class Outcome(StrEnum):
    """The combined result of all rules."""

    ALLOW = "allow"
    DENY = "deny"
    CONDITIONAL = "conditional"
    """Allowed unless one of `ValidationResult.unless` holds, which only IVS knows."""
    INDETERMINATE = "indeterminate"
    """A rule needs a fact that was not supplied: a public key, or the player's Origin header."""


VerifySignature = Callable[[PublicKey, bytes, bytes], bool]
"""(key, signed bytes, signature) -> whether the signature of these bytes was made with this key."""


class PlaybackAttempt(NamedTuple):
    """One attempt to start playback. None stands for what is unknown."""

    token: str
    now: float
    channel: Arn | None = None
    """The channel whose playlist is requested."""
    keys: Sequence[PublicKey] | None = None
    """The public keys that IVS holds in the channel's account and region."""
    origin: str | None = None
    """The `Origin` header; "" when none was sent."""
    spent: bool | None = None
    """Whether the single-use token was used before."""
    revoked_version: int | None = None
    """The highest session version of the token's viewer that was revoked on the channel, or NOTHING_REVOKED."""
    denied_until: int = 0
    """Until when the deployment issues the viewer no tokens, in Unix seconds; 0 for a viewer that is not denied. IVS
    knows of no denials, so the edge never sets it."""
    verify: VerifySignature = es384.verify
    """Verifies a signature with one of the keys. The edge remembers what it has verified."""


class RuleResult(NamedTuple):
    """The result of one rule."""

    rule: str
    status: RuleStatus
    message: str
    reason: Reason = Reason.UNSPECIFIED


class ValidationResult(NamedTuple):
    """The outcome, the rule that denied playback, and the result of every rule in the table's order."""

    outcome: Outcome
    denied_by: str | None
    message: str
    rule_results: tuple[RuleResult, ...]
    claims: dict[str, Any]
    """The payload as far as it could be parsed; trust it only when the outcome is ALLOW."""
    unless: tuple[str, ...] = ()
    """With CONDITIONAL: the conditions, worded to follow "unless"."""

    @property
    def failed_rule(self) -> RuleResult | None:
        """The result of the rule that denied playback: the first that failed."""
        return next((result for result in self.rule_results if result.status is RuleStatus.FAIL), None)


MILLISECONDS_THRESHOLD = 10**11
"""In seconds this is in the year 5138, in milliseconds in 1973, so it is never meant as seconds.

INFERRED: An `exp` in milliseconds is denied. IVS documents seconds, while AWS's own sample writes milliseconds, and IVS
may read such an `exp` as a date far ahead.
"""


class _State:
    """An attempt during validation: each rule may read what the rules before it parsed."""

    def __init__(self, attempt: PlaybackAttempt) -> None:
        self.attempt = attempt
        self.segments: list[bytes] = []
        self.parts: list[bytes] = []
        self.header: dict[str, Any] | None = None
        self.claims: dict[str, Any] | None = None

    def claim(self, name: str) -> Any:
        """A claim's value after its check; None when it is absent or the payload could not be parsed.

        INFERRED: A claim whose type or value is not the documented one denies the token.
        """
        if not self.claims or name not in self.claims:
            return None
        try:
            return c.CHECKS[name](self.claims[name])
        except ValueError as error:
            raise _Failed(f"{name} {error}", Reason.MALFORMED) from None


class _Failed(Exception):
    """A rule failed; the message says why, without the token's content."""

    def __init__(self, message: str, reason: Reason = Reason.UNSPECIFIED) -> None:
        super().__init__(message)
        self.reason = reason


class _Unknown(Exception):
    """A rule needs a fact that was not supplied."""


class _Note(NamedTuple):
    """What a rule found that denies nothing and is probably a mistake."""

    message: str
    reason: Reason
    status: RuleStatus = RuleStatus.PASS


_Rule = Callable[[_State], str | _Note | None]
"""Returns a message, or None when the rule does not apply. Raises _Failed or _Unknown."""


def _size(state: _State) -> str:
    """The token is not larger than IVS's quota of 2 KB."""
    size = len(state.attempt.token.encode(errors="surrogatepass"))
    if size > c.TOKEN_MAX_BYTES:
        raise _Failed(f"the token has {size} bytes; IVS accepts at most {c.TOKEN_MAX_BYTES}")
    return f"{size} bytes"


def _segments(state: _State) -> str:
    """The token has three segments, and neither header nor payload is empty.

    An empty signature is left to the algorithm and signature rules: unsigned tokens have one.
    """
    if not state.attempt.token:
        raise _Failed("the token is empty")
    segments = state.attempt.token.encode(errors="surrogatepass").split(b".")
    if len(segments) != 3:
        raise _Failed(f"the token has {len(segments)} segment{'s' * (len(segments) != 1)}; it must have 3")
    for name, segment in zip(("header", "payload"), segments, strict=False):
        if not segment:
            raise _Failed(f"the token's {name} is empty", Reason.EMPTY)
    state.segments = segments
    return "header, payload and signature"


def _encoding(state: _State) -> str | None:
    """Header, payload and signature are base64url without padding."""
    if not state.segments:
        return None
    parts = []
    for name, segment in zip(("header", "payload", "signature"), state.segments, strict=True):
        try:
            parts.append(es384.base64url_decode(segment))
        except ValueError as error:
            raise _Failed(f"the {name} {error}") from None
    state.parts = parts
    return "base64url without padding"


def _header(state: _State) -> str | _Note | None:
    """The header is a JSON object with an `alg`, without `crit`, and its `typ`, if it has one, is `JWT`.

    INFERRED: A `typ` other than `JWT` is denied: IVS documents the value, but not whether it checks it.
    """
    if not state.parts:
        return None
    try:
        header = _read_header(state.parts[0])
    except ValueError as error:
        raise _Failed(f"the header {error}") from None
    if not isinstance(header.get("alg"), str):
        raise _Failed("the header's alg must be a string")
    if header.get("typ", "JWT") != "JWT":
        raise _Failed("the header's typ must be JWT")
    if "crit" in header:  # RFC 7515, 4.1.11: extensions that are not understood must be rejected
        raise _Failed("the header's crit names extensions that are not supported")
    state.header = header
    if "kid" in header:
        text = "a JSON object; its kid has no effect: IVS documents none and tries every key of the account and region"
        return _Note(text, Reason.KEY_ID)
    return "a JSON object"


_read_header = lru_cache(maxsize=64)(read_object)
"""Nearly all tokens have the same header. Its members are only read."""


def _algorithm(state: _State) -> str | None:
    """The header's `alg` is `ES384`."""
    if state.header is None:
        return None
    if state.header["alg"].lower() == "none":
        raise _Failed("the header's alg is none: the token is not signed; IVS accepts ES384 only", Reason.UNSIGNED)
    if state.header["alg"] != es384.ALGORITHM:
        raise _Failed("the header's alg is not ES384, the only algorithm that IVS accepts")
    return es384.ALGORITHM


def _signature(state: _State) -> str | None:
    """The signature was made by a playback key pair of the channel's account and region.

    INFERRED: A token names no key, so every key pair of the channel's account and region is tried.
    """
    if state.header is None or state.header["alg"] != es384.ALGORITHM:
        return None  # the algorithm rule failed
    if _is_der_signature(state.parts[2]):
        raise _Failed(
            f"the signature is in ASN.1 DER; it must be raw r||s of P-384, {es384.SIGNATURE_BYTES} bytes",
            Reason.DER_SIGNATURE,
        )
    if len(state.parts[2]) != es384.SIGNATURE_BYTES:
        raise _Failed(f"the signature has {len(state.parts[2])} bytes; raw r||s of P-384 has {es384.SIGNATURE_BYTES}")
    if state.attempt.keys is None:
        raise _Unknown("the public keys that IVS holds for the channel are not known here")
    signed = state.segments[0] + b"." + state.segments[1]
    if not any(state.attempt.verify(key, signed, state.parts[2]) for key in state.attempt.keys):
        raise _Failed("the signature was not made by a playback key pair of the channel's account and region")
    return "made by a playback key pair of the channel's account and region"


def _is_der_signature(signature: bytes) -> bool:
    """Whether this is a DER SEQUENCE of two INTEGERs and of no other length (X.690, 8.1.3, 8.3 and 8.9)."""
    if len(signature) == es384.SIGNATURE_BYTES or len(signature) < 8 or signature[0] != 0x30:
        return False
    start = 3 if signature[1] == 0x81 else 2
    if signature[start - 1] != len(signature) - start or signature[start] != 0x02:
        return False
    second = start + 2 + signature[start + 1]
    return (
        second + 1 < len(signature)
        and signature[second] == 0x02
        and second + 2 + signature[second + 1] == len(signature)
    )


def _payload(state: _State) -> str | None:
    """The payload is a JSON object."""
    if not state.parts:
        return None
    try:
        state.claims = read_object(state.parts[1])
    except ValueError as error:
        raise _Failed(f"the payload {error}") from None
    return "a JSON object"


def _channel(state: _State) -> str | None:
    """`aws:channel-arn` is the ARN of the requested channel.

    INFERRED: `aws:channel-arn` must equal the ARN of the requested channel. IVS documents that the claim holds the
    channel's ARN, but not how it is compared.
    """
    if state.claims is None:
        return None
    requested = state.attempt.channel
    if requested is not None and state.claims.get(c.CHANNEL_ARN) == str(requested):
        return "the requested channel"
    if state.claim(c.CHANNEL_ARN) is None:
        raise _Failed(f"{c.CHANNEL_ARN} is missing", Reason.MISSING)
    if requested is not None:
        raise _Failed(f"{c.CHANNEL_ARN} is not the requested channel")
    return "a channel ARN"


def _expiry(state: _State) -> str | None:
    """`exp` is a whole number of seconds, and in the future.

    INFERRED: A token without `exp` is denied, since the user guide does not mark `exp` as optional.

    INFERRED: `exp` has no leeway: a token is denied from that second on.
    """
    if state.claims is None:
        return None
    exp = state.claim(c.EXP)
    if exp is None:
        raise _Failed("exp is missing", Reason.MISSING)
    if exp >= MILLISECONDS_THRESHOLD:
        raise _in_milliseconds(c.EXP)
    if exp <= state.attempt.now:
        raise _Failed(f"the token expired {state.attempt.now - exp:.0f} seconds ago")
    return f"expires in {exp - state.attempt.now:.0f} seconds"


def _not_yet(state: _State) -> str | None:
    """INFERRED: `nbf` and `iat`, if present, are numbers of seconds and not in the future, as the JWT parser requires
    whose error text the edge shows. IVS documents neither claim."""
    if not state.claims or not (present := [n for n in ("nbf", "iat") if n in state.claims]):
        return None
    for name in present:
        value = state.claims[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _Failed(f"{name} must be a number of seconds; omit it", Reason.MALFORMED)
        if value >= MILLISECONDS_THRESHOLD:
            raise _in_milliseconds(name)
        if value > state.attempt.now:
            raise _Failed(f"{name} must not be in the future; omit it")
    return "not in the future"


def _in_milliseconds(name: str) -> _Failed:
    text = f"{name} is in milliseconds, as JavaScript's Date.now() returns them; IVS expects seconds: divide it by 1000"
    return _Failed(text, Reason.MILLISECONDS)


def _ten_minutes(state: _State) -> str | None:
    """With a viewer id or a single-use UUID, `exp` is at most 600 seconds in the future."""
    if not state.claims or not {c.VIEWER_ID, c.SINGLE_USE_UUID} & state.claims.keys():
        return None
    exp = state.claim(c.EXP)
    if exp is not None and exp > state.attempt.now + c.TEN_MINUTES_SECONDS:
        raise _Failed("with a viewer id or a single-use UUID, exp must be at most 600 seconds in the future")
    return "at most 600 seconds in the future"


def _viewer(state: _State) -> str | _Note | None:
    """`aws:viewer-id` has 1 to 40 characters, and `aws:viewer-session-version` is a 64-bit integer."""
    viewer_id, version = state.claim(c.VIEWER_ID), state.claim(c.VIEWER_SESSION_VERSION)
    if viewer_id is not None:
        return "can be revoked"
    if version is not None:
        return _Note(f"{c.VIEWER_SESSION_VERSION} has no effect without {c.VIEWER_ID}", Reason.VERSION_WITHOUT_VIEWER)
    if state.claims and "sub" in state.claims:
        text = f"sub does not name a viewer to IVS, which reads {c.VIEWER_ID}: the token cannot be revoked"
        return _Note(text, Reason.VIEWER_IN_SUB, RuleStatus.NOT_APPLICABLE)
    return None


def _revoked(state: _State) -> str | None:
    """No revocation covers the viewer's sessions with the token's version: all up to and including the revoked one.

    Source: IVS user guide, "Start a Viewer Session Revocation".

    INFERRED: A revocation also denies new tokens of the versions that it covers, because versions are revoked and not
    tokens.
    """
    try:
        viewer_id, version = state.claim(c.VIEWER_ID), state.claim(c.VIEWER_SESSION_VERSION)
    except _Failed:
        return None  # the viewer rule failed
    if viewer_id is None:
        return None
    if state.attempt.revoked_version is None:
        raise _Unknown("only IVS knows whether the viewer's sessions with this version were revoked")
    if (c.DEFAULT_VIEWER_SESSION_VERSION if version is None else version) <= state.attempt.revoked_version:
        raise _Failed("the viewer's sessions with this version were revoked")
    if state.attempt.denied_until > state.attempt.now:
        until = rfc3339(state.attempt.denied_until)
        raise _Failed(f"this deployment issues the viewer no tokens until {until}", Reason.VIEWER_DENIED)
    return "not revoked"


def _single_use(state: _State) -> str | None:
    """`aws:single-use-uuid` is a UUID that has not been used yet."""
    if state.claim(c.SINGLE_USE_UUID) is None:
        return None
    if state.attempt.spent is None:
        raise _Unknown("only IVS knows whether the single-use token was already used")
    if state.attempt.spent:
        raise _Failed("the single-use token was already used")
    return "not used yet"


def _origins(state: _State) -> str | None:
    """`aws:access-control-allow-origin` lists origins: at most five with strict origin enforcement."""
    try:
        allowed = state.claim(c.ALLOW_ORIGIN)
    except _Failed as failed:
        if _has_path((state.claims or {})[c.ALLOW_ORIGIN]):
            text = f"{c.ALLOW_ORIGIN} has an entry with a path or a trailing slash; an origin is scheme://host[:port]"
            raise _Failed(text, Reason.ORIGIN_WITH_PATH) from None
        raise failed
    strict = state.claim(c.STRICT_ORIGIN)
    if allowed is None:
        return None
    entries = split_origins(allowed)
    try:
        c.check_strict_origins(bool(strict), len(entries))
    except ValueError as error:
        raise _Failed(f"{c.ALLOW_ORIGIN} {error}") from None
    return f"{len(entries)} entries"


def _has_path(allowed: object) -> bool:
    """Whether every entry is an origin once what follows the host and port is cut off, and one has such a rest."""
    if not isinstance(allowed, str):
        return False
    entries = split_origins(allowed)
    bare = [_AFTER_ORIGIN.sub(r"\1", entry) for entry in entries]
    return bare != entries and all(map(_is_origin, bare))


def _is_origin(entry: str) -> bool:
    try:
        check_origin(entry)
    except ValueError:
        return False
    return True


_AFTER_ORIGIN = re.compile(r"^([^/]*://[^/?#]*)[/?#].*$", re.DOTALL)


def _strict_origin(state: _State) -> str | None:
    """With strict origin enforcement, the player's `Origin` header is one of the allowed origins.

    INFERRED: With strict origin enforcement, an `Origin` header that no browser sends is never allowed.
    """
    if not state.claim(c.STRICT_ORIGIN):
        return None
    if state.attempt.origin is None:
        raise _Unknown("the Origin header that the player sends is unknown")
    if not state.attempt.origin:
        raise _Failed("the player sent no Origin header, which strict origin enforcement requires", Reason.MISSING)
    if parse_origin(state.attempt.origin) is None:
        has_path = parse_origin(_AFTER_ORIGIN.sub(r"\1", state.attempt.origin)) is not None
        raise _Failed(
            "the player's Origin header is not an origin: scheme://host[:port]",
            Reason.ORIGIN_WITH_PATH if has_path else Reason.UNSPECIFIED,
        )
    allowed = state.claim(c.ALLOW_ORIGIN)
    if allowed is not None and not matches(state.attempt.origin, split_origins(allowed)):
        raise _Failed("the player's Origin header is not one of the allowed origins")
    return "the Origin header is allowed"


def _resolution(state: _State) -> str | None:
    """`aws:maximum-resolution` is `SD`, `HD` or `FULL_HD`."""
    return state.claim(c.MAXIMUM_RESOLUTION) and f"at most {state.claim(c.MAXIMUM_RESOLUTION)}"


def _ads(state: _State) -> str | None:
    """The claims about ads have their documented types and values."""
    names = (c.ADS_OPT_OUT, c.ADS_PLAYER_PARAMS, c.ADS_PLAYBACK_CONFIG_NAME, c.ADS_REPORTING_MODE)
    present = [name for name in names if state.claim(name) is not None]
    return ", ".join(present) or None


RULES: tuple[tuple[str, _Rule], ...] = (
    ("size", _size),
    ("segments", _segments),
    ("encoding", _encoding),
    ("header", _header),
    ("algorithm", _algorithm),
    ("signature", _signature),
    ("payload", _payload),
    ("channel", _channel),
    ("expiry", _expiry),
    ("not-yet", _not_yet),
    ("ten-minutes", _ten_minutes),
    ("viewer", _viewer),
    ("revoked", _revoked),
    ("single-use", _single_use),
    ("origins", _origins),
    ("strict-origin", _strict_origin),
    ("resolution", _resolution),
    ("ads", _ads),
)


_NOT_APPLICABLE = {name: RuleResult(name, RuleStatus.NOT_APPLICABLE, "") for name, _ in RULES}

_CONDITIONS = {"revoked": "revoked", "single-use": "already used"}
"""The rules that only IVS can decide, and the condition under which IVS then denies the token."""


def validate(attempt: PlaybackAttempt) -> ValidationResult:
    """Apply all rules and return the result. Never raises, whatever the token is."""
    state = _State(attempt)
    results = tuple([_apply(name, rule, state) for name, rule in RULES])
    claims = state.claims or {}
    for failed in results:
        if failed.status is RuleStatus.FAIL:
            return ValidationResult(Outcome.DENY, failed.rule, failed.message, results, claims)
    unknown = [f for f in results if f.status is RuleStatus.UNKNOWN]
    if not unknown:
        return ValidationResult(Outcome.ALLOW, None, "playback is allowed", results, claims)
    open_rule = next((f for f in unknown if f.rule not in _CONDITIONS), None)
    if open_rule is not None:
        return ValidationResult(Outcome.INDETERMINATE, None, open_rule.message, results, claims)
    unless = tuple(_CONDITIONS[f.rule] for f in unknown)
    message = f"allowed unless {' or '.join(unless)}: {unknown[0].message}"
    return ValidationResult(Outcome.CONDITIONAL, None, message, results, claims, unless)


def unverified_claims(token: str) -> dict[str, Any]:
    """The payload of a token whose signature was not verified; {} if it cannot be parsed."""
    state = _State(PlaybackAttempt(token, 0))
    for name, rule in (("size", _size), ("segments", _segments), ("encoding", _encoding), ("payload", _payload)):
        if _apply(name, rule, state).status is RuleStatus.FAIL:
            break
    return state.claims or {}


def _apply(name: str, rule: _Rule, state: _State) -> RuleResult:
    try:
        detail = rule(state)
    except _Failed as failed:
        return RuleResult(name, RuleStatus.FAIL, str(failed), failed.reason)
    except _Unknown as unknown:
        return RuleResult(name, RuleStatus.UNKNOWN, str(unknown))
    if detail is None:
        return _NOT_APPLICABLE[name]
    if isinstance(detail, _Note):
        return RuleResult(name, detail.status, detail.message, detail.reason)
    return RuleResult(name, RuleStatus.PASS, detail)
