"""THE RULES by which a player is let in: one ordered table, and its interpreter.

Rules of the file
- `RULES` is the order of judgement; the first rule that fails names the refusal. The edge applies the table, `explain`
  prints it, readiness runs it over a probe. No one else decides about a token.
- Form and signature come before the payload: a changed byte is refused for its form or by the signature, never for what
  it would have claimed. Every rule is judged all the same, so that `explain` shows all that is wrong at once; where the
  signature cannot be judged (the public half is not known here) the verdict stays undecided.
- Where nothing fails and only IVS can say the rest (revoked sessions, spent single uses), the outcome is conditional.
- Strict where IVS is silent: a token that IVS might refuse is refused here, since a tester learns more from that than
  from the opposite. What is INFERRED says so at its rule.

What goes into a judgement of a playback token, and what comes out of it.

Rules of the file
- None in an attempt stands for what the judge cannot know; it never means "none".
- A message says what a rule found without repeating the token, a key or a viewer id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.jose import es384
from tokensvc.jose.keypair import PublicKey
from tokensvc.jose.strict_json import read_object
from tokensvc.tokens import claims as c
from tokensvc.tokens.origins import matches, parse_origin, split_origins

NOTHING_REVOKED = -(2**63) - 1
"""Below every session version (a signed integer of 64 bits), so that no comparison needs another case."""


class RuleStatus(StrEnum):
    """What one rule says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Which of several ways a rule failed in. Error texts and programs depend on these, never on the message."""

    UNSPECIFIED = ""
    """What the rule's name says, as for a rule that fails in one way only."""
    EMPTY = "empty"
    MISSING = "missing"
    MALFORMED = "malformed"
    """A claim of another type or form than documented."""
    MILLISECONDS = "milliseconds"
    UNSIGNED = "unsigned"


class Outcome(StrEnum):
    """What all rules say together."""

    ALLOW = "allow"
    DENY = "deny"
    CONDITIONAL = "conditional"
    """Admitted unless `ValidationResult.unless`, which only IVS knows."""
    INDETERMINATE = "indeterminate"
    """A rule needs a fact that was not supplied: a public key, or the player's Origin header."""


class PlaybackAttempt(NamedTuple):
    """One try to start playback. None stands for what the judge cannot know."""

    token: str
    now: float
    channel: Arn | None = None
    """The channel whose playlist is asked for."""
    keys: Sequence[PublicKey] | None = None
    """The public halves that IVS holds in the channel's account and region."""
    origin: str | None = None
    """The `Origin` header; "" when none was sent."""
    spent: bool | None = None
    """Whether the token's single use was spent before."""
    revoked_version: int | None = None
    """The highest session version of the token's viewer that was revoked on the channel, or NOTHING_REVOKED."""


class RuleResult(NamedTuple):
    """What one rule found."""

    rule: str
    result: RuleStatus
    message: str
    reason: Reason = Reason.UNSPECIFIED


class ValidationResult(NamedTuple):
    """The outcome, the rule that refused, and every finding in the table's order."""

    outcome: Outcome
    denied_by: str | None
    message: str
    rule_results: tuple[RuleResult, ...]
    claims: dict[str, Any]
    """The payload, as far as it could be read; trust it only when the outcome is ADMITTED."""
    unless: tuple[str, ...] = ()
    """With CONDITIONAL: the conditions, as a sentence has them after "unless"."""

    @property
    def failed_rule(self) -> RuleResult | None:
        """The finding that refused: the first failed one."""
        return next((finding for finding in self.rule_results if finding.result is RuleStatus.FAIL), None)


MILLISECONDS_THRESHOLD = 10**11
"""As seconds this is in the year 5138, as milliseconds in 1973, so it is never meant as seconds. IVS documents seconds,
while AWS's own sample writes milliseconds. INFERRED: such an `exp` is refused; IVS may take it for a date far ahead."""


class _Validation:
    """One attempt while it is judged: each rule may read what the rules before it took apart."""

    def __init__(self, attempt: PlaybackAttempt) -> None:
        self.attempt = attempt
        self.segments: list[bytes] = []
        self.parts: list[bytes] = []
        self.header: dict[str, Any] | None = None
        self.claims: dict[str, Any] | None = None

    def claim(self, name: str) -> Any:
        """A claim's value, checked by its rule; None when it is absent or nothing could be read."""
        if not self.claims or name not in self.claims:
            return None
        try:
            return c.CHECKS[name](self.claims[name])
        except ValueError as problem:
            raise _Failed(f"{name} {problem}", Reason.MALFORMED) from None


class _Failed(Exception):
    """A rule fails; the message says why, without the token's content."""

    def __init__(self, message: str, reason: Reason = Reason.UNSPECIFIED) -> None:
        super().__init__(message)
        self.reason = reason


class _Unknown(Exception):
    """A rule needs a fact that was not supplied."""


_Rule = Callable[[_Validation], str | None]
"""Returns what it found, or None when it does not apply. Raises _Failed or _Unknown."""


def _size(case: _Validation) -> str:
    size = len(case.attempt.token.encode(errors="surrogatepass"))
    if size > c.TOKEN_MAX_BYTES:
        raise _Failed(f"the token has {size} bytes; at most {c.TOKEN_MAX_BYTES} are safe")
    return f"{size} bytes"


def _segments(case: _Validation) -> str:
    """An empty signature is left to the rules of algorithm and signature: it is what an unsigned token has."""
    if not case.attempt.token:
        raise _Failed("there is no token")
    segments = case.attempt.token.encode(errors="surrogatepass").split(b".")
    if len(segments) != 3:
        raise _Failed(f"the token has {len(segments)} segment{'s' * (len(segments) != 1)}; 3 are needed")
    for name, segment in zip(("header", "payload"), segments, strict=False):
        if not segment:
            raise _Failed(f"the token's {name} is empty", Reason.EMPTY)
    case.segments = segments
    return "header, payload and signature"


def _encoding(case: _Validation) -> str | None:
    if not case.segments:
        return None
    parts = []
    for name, segment in zip(("header", "payload", "signature"), case.segments, strict=True):
        try:
            parts.append(es384.base64url_decode(segment))
        except ValueError as problem:
            raise _Failed(f"the {name} {problem}") from None
    case.parts = parts
    return "base64url without padding"


def _header(case: _Validation) -> str | None:
    if not case.parts:
        return None
    header = _object(case.parts[0], "header")
    if not isinstance(header.get("alg"), str):
        raise _Failed("the header's alg must be a string")
    if header.get("typ", "JWT") != "JWT":  # INFERRED: IVS shows "JWT" and does not say that it looks
        raise _Failed("the header's typ must be JWT")
    if "crit" in header:  # RFC 7515, 4.1.11: what is not understood must be refused
        raise _Failed("the header's crit names extensions that nobody here understands")
    case.header = header
    return "a JSON object"


def _algorithm(case: _Validation) -> str | None:
    if case.header is None:
        return None
    if case.header["alg"].lower() == "none":
        raise _Failed("the header's alg is none: the token is not signed, and IVS takes ES384 only", Reason.UNSIGNED)
    if case.header["alg"] != es384.ALGORITHM:
        raise _Failed("the header's alg is not ES384, the only one that IVS takes")
    return es384.ALGORITHM


def _signature(case: _Validation) -> str | None:
    if case.header is None or case.header["alg"] != es384.ALGORITHM:
        return None  # the rule before refused it
    if len(case.parts[2]) != es384.SIGNATURE_BYTES:
        raise _Failed(f"the signature has {len(case.parts[2])} bytes; raw r||s of P-384 has {es384.SIGNATURE_BYTES}")
    if case.attempt.keys is None:
        raise _Unknown("the public halves that IVS holds there are not known here")
    signed = case.segments[0] + b"." + case.segments[1]
    # INFERRED: the token names no key, so each of the channel's account and region is tried.
    if not any(es384.verify(key, signed, case.parts[2]) for key in case.attempt.keys):
        raise _Failed("no playback key pair of the channel's account and region made this signature")
    return "made by a playback key pair of the channel's account and region"


def _payload(case: _Validation) -> str | None:
    if not case.parts:
        return None
    case.claims = _object(case.parts[1], "payload")
    return "a JSON object"


def _channel(case: _Validation) -> str | None:
    if case.claims is None:
        return None
    arn = case.claim(c.CHANNEL_ARN)
    if arn is None:
        raise _Failed(f"{c.CHANNEL_ARN} is missing", Reason.MISSING)
    if case.attempt.channel is None:
        return "a channel's ARN"
    if arn != str(case.attempt.channel):  # INFERRED: that they must be equal
        raise _Failed(f"{c.CHANNEL_ARN} names another channel than the one that is played")
    return "the channel that is played"


def _expiry(case: _Validation) -> str | None:
    if case.claims is None:
        return None
    exp = case.claim(c.EXP)
    if exp is None:  # INFERRED: listed without "optional", so required
        raise _Failed("exp is missing", Reason.MISSING)
    if exp >= MILLISECONDS_THRESHOLD:
        raise _in_milliseconds(c.EXP)
    if exp <= case.attempt.now:  # INFERRED: no leeway
        raise _Failed(f"exp passed {case.attempt.now - exp:.0f} seconds ago")
    return f"{exp - case.attempt.now:.0f} seconds left"


def _not_yet(case: _Validation) -> str | None:
    """INFERRED from the parser whose error text the edge shows: a start or issue time ahead of now is refused."""
    if not case.claims or not (present := [n for n in ("nbf", "iat") if n in case.claims]):
        return None
    for name in present:
        value = case.claims[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _Failed(f"{name} must be a number of seconds; better leave it out", Reason.MALFORMED)
        if value >= MILLISECONDS_THRESHOLD:
            raise _in_milliseconds(name)
        if value > case.attempt.now:
            raise _Failed(f"{name} must not be ahead of now; better leave it out")
    return "not ahead of now"


def _in_milliseconds(name: str) -> _Failed:
    text = (
        f"{name} is in milliseconds, as JavaScript's Date.now() gives them; IVS counts Unix seconds: divide it by 1000"
    )
    return _Failed(text, Reason.MILLISECONDS)


def _ten_minutes(case: _Validation) -> str | None:
    if not case.claims or not {c.VIEWER_ID, c.SINGLE_USE_UUID} & case.claims.keys():
        return None
    exp = case.claim(c.EXP)
    if exp is not None and exp > case.attempt.now + c.TEN_MINUTES_SECONDS:
        raise _Failed("with a viewer id or a single use, exp must be at most ten minutes (in seconds) ahead")
    return "at most ten minutes ahead"


def _viewer(case: _Validation) -> str | None:
    viewer_id, version = case.claim(c.VIEWER_ID), case.claim(c.VIEWER_SESSION_VERSION)
    if viewer_id is None:
        return None if version is None else f"{c.VIEWER_SESSION_VERSION} means nothing without {c.VIEWER_ID}"
    return "can be revoked"


def _revoked(case: _Validation) -> str | None:
    """IVS user guide, "Start a Viewer Session Revocation": versions up to and including the revoked one.

    INFERRED: it refuses new tokens too, for what is revoked is a version and not a token.
    """
    try:
        viewer_id, version = case.claim(c.VIEWER_ID), case.claim(c.VIEWER_SESSION_VERSION)
    except _Failed:
        return None  # the rule before said so
    if viewer_id is None:
        return None
    if case.attempt.revoked_version is None:
        raise _Unknown("only IVS knows whether the viewer's sessions of this version were revoked")
    if (c.DEFAULT_VIEWER_SESSION_VERSION if version is None else version) <= case.attempt.revoked_version:
        raise _Failed("the viewer's sessions of this version were revoked")
    return "not revoked"


def _single_use(case: _Validation) -> str | None:
    if case.claim(c.SINGLE_USE_UUID) is None:
        return None
    if case.attempt.spent is None:
        raise _Unknown("only IVS knows whether the single use was spent")
    if case.attempt.spent:
        raise _Failed("the single use was spent before")
    return "not spent yet"


def _origins(case: _Validation) -> str | None:
    allowed, strict = case.claim(c.ALLOW_ORIGIN), case.claim(c.STRICT_ORIGIN)
    if allowed is None:
        return None
    entries = split_origins(allowed)
    try:
        c.check_strict_origins(bool(strict), len(entries))
    except ValueError as problem:
        raise _Failed(f"{c.ALLOW_ORIGIN} {problem}") from None
    return f"{len(entries)} entries"


def _strict_origin(case: _Validation) -> str | None:
    if not case.claim(c.STRICT_ORIGIN):
        return None
    if case.attempt.origin is None:
        raise _Unknown("the Origin header that the player sends is not known here")
    if not case.attempt.origin:
        raise _Failed("the player sent no Origin header, and the token enforces origins strictly", Reason.MISSING)
    if parse_origin(case.attempt.origin) is None:  # INFERRED: what no browser sends is never an allowed origin
        raise _Failed("the player's Origin header is not the form of an origin: scheme://host[:port]")
    allowed = case.claim(c.ALLOW_ORIGIN)
    if allowed is not None and not matches(case.attempt.origin, split_origins(allowed)):
        raise _Failed("the player's Origin header is none of the allowed origins")
    return "the Origin header is allowed"


def _resolution(case: _Validation) -> str | None:
    return case.claim(c.MAXIMUM_RESOLUTION) and f"at most {case.claim(c.MAXIMUM_RESOLUTION)}"


def _ads(case: _Validation) -> str | None:
    names = (c.ADS_OPT_OUT, c.ADS_PLAYER_PARAMS, c.ADS_PLAYBACK_CONFIG_NAME, c.ADS_REPORTING_MODE)
    present = [name for name in names if case.claim(name) is not None]
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


_CONDITIONS = {"revoked": "revoked", "single-use": "already used"}
"""The rules that only IVS can decide, and what a token that passes all others is then admitted unless."""


def validate(attempt: PlaybackAttempt) -> ValidationResult:
    """Apply the table and return the verdict. Never raises, whatever the token is."""
    case = _Validation(attempt)
    findings = tuple(_apply(name, rule, case) for name, rule in RULES)
    claims = case.claims or {}
    refused = next((f for f in findings if f.result is RuleStatus.FAIL), None)
    if refused is not None:
        return ValidationResult(Outcome.DENY, refused.rule, refused.message, findings, claims)
    unknown = [f for f in findings if f.result is RuleStatus.UNKNOWN]
    if not unknown:
        return ValidationResult(Outcome.ALLOW, None, "the player is let in", findings, claims)
    undecided = next((f for f in unknown if f.rule not in _CONDITIONS), None)
    if undecided is not None:
        return ValidationResult(Outcome.INDETERMINATE, None, undecided.message, findings, claims)
    unless = tuple(_CONDITIONS[f.rule] for f in unknown)
    message = f"allowed unless {' or '.join(unless)}: {unknown[0].message}"
    return ValidationResult(Outcome.CONDITIONAL, None, message, findings, claims, unless)


def _apply(name: str, rule: _Rule, case: _Validation) -> RuleResult:
    try:
        found = rule(case)
    except _Failed as failure:
        return RuleResult(name, RuleStatus.FAIL, str(failure), failure.reason)
    except _Unknown as missing_fact:
        return RuleResult(name, RuleStatus.UNKNOWN, str(missing_fact))
    return RuleResult(name, RuleStatus.PASS if found is not None else RuleStatus.NOT_APPLICABLE, found or "")


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        return read_object(data)
    except ValueError as problem:
        raise _Failed(f"the {name} {problem}") from None
