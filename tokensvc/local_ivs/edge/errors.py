"""Error responses of the edge.

Invariants
- The form is IVS's own, observed: a JSON array with one object, `&` written `\\u0026` as Go writes it. Its `url` is
  path and query as they were sent, without the token.
- `ERRORS` has one entry per rule of `tokens/validation.py`, and `ERRORS_BY_REASON` one for each further way in which a
  rule can fail, so that no text names a fault that the token does not have.
- Observed are: text and code for `segments`, which a missing token gets too (jwt-go's literal); the code for a spent
  single use; "origin required", and "Forbidden" for a variant playlist (third-party notes of 2026-09-27 about one
  deployment).
- A 403 and a 429 name the rule in a header too, which IVS does not send: texts may change, and some rules share one.
- INFERRED: `playback_auth_error` is the `error_code` for a single use that is spent, and "origin required" the `error`
  for a missing `Origin`. Both come from third-party notes about one deployment, which do not say which member of the
  error had the code, and which saw the text on segments only.
- INFERRED: Texts of the edge's 403 that were not observed are jwt-go's wording or in its style, since the one text that
  was observed on a playlist is jwt-go's.
"""

from __future__ import annotations

import json
from typing import NamedTuple
from urllib.parse import unquote_plus

from tokensvc.tokens.validation import TOKEN_PARAMETER, Reason, RuleResult, RuleStatus

INVALID_TOKEN = "invalid_playback_auth_token"  # noqa: S105 - an error code
ALREADY_USED = "playback_auth_error"


class EdgeError(NamedTuple):
    """The text and code of an error."""

    text: str
    code: str = INVALID_TOKEN
    observed: str = ""
    """Which of the two was observed on the real edge: `text`, `code`, or `text and code`."""
    rule: str = ""
    """The rule that denied playback, for the header RULE_HEADER; "" where `ERRORS` has the rule, and for a 404."""


ERRORS: dict[str, EdgeError] = {
    "size": EdgeError("token is too large"),
    "segments": EdgeError("token contains an invalid number of segments", observed="text and code"),
    "encoding": EdgeError("token is malformed"),
    "header": EdgeError("token is malformed"),
    "algorithm": EdgeError("signing method is invalid"),
    "signature": EdgeError("signature is invalid"),
    "payload": EdgeError("token is malformed"),
    "channel": EdgeError("token is not for this channel"),
    "expiry": EdgeError("token is expired"),
    "not-yet": EdgeError("token is not valid yet"),
    "ten-minutes": EdgeError("token expires too late"),
    "viewer": EdgeError("token has an invalid viewer"),
    "revoked": EdgeError("viewer session is revoked"),
    "single-use": EdgeError("token has already been used", ALREADY_USED, observed="code"),
    "origins": EdgeError("token has invalid origins"),
    "strict-origin": EdgeError("origin is not allowed"),
    "resolution": EdgeError("token has an invalid resolution"),
    "ads": EdgeError("token has invalid ads parameters"),
}

ERRORS_BY_REASON: dict[tuple[str, Reason], EdgeError] = {
    ("segments", Reason.EMPTY): EdgeError("token is malformed"),
    ("algorithm", Reason.UNSIGNED): EdgeError("'none' signature type is not allowed"),
    ("channel", Reason.MISSING): EdgeError("token has no channel ARN"),
    ("channel", Reason.MALFORMED): EdgeError("token has an invalid channel ARN"),
    ("expiry", Reason.MISSING): EdgeError("token has no exp"),
    ("expiry", Reason.MALFORMED): EdgeError("exp is not a whole number of seconds"),
    ("expiry", Reason.MILLISECONDS): EdgeError("exp is in milliseconds, not in seconds"),
    ("not-yet", Reason.MALFORMED): EdgeError("iat or nbf is not a number of seconds"),
    ("not-yet", Reason.MILLISECONDS): EdgeError("iat or nbf is in milliseconds, not in seconds"),
    ("single-use", Reason.MALFORMED): EdgeError("token has an invalid single-use UUID"),
    ("strict-origin", Reason.MISSING): EdgeError("origin required", observed="text"),
}
"""(Rule, reason) -> error; where an entry is missing, ERRORS applies."""

SEVERAL_TOKENS = EdgeError("several tokens were sent", rule="several-tokens")
"""INFERRED: A query with more than one token is denied, since it is ambiguous."""
INDETERMINATE = EdgeError("token is unverifiable", rule="indeterminate")

OTHER_COUNTRY = EdgeError("content is not available in this country", "content_geoblocked", rule="country")
"""INFERRED: The 403 of a viewer in a country that the playback restriction policy does not allow has the code of a
sister system of IVS with the same form of errors."""
NO_RENDITION = EdgeError("no rendition is within the token's maximum resolution", rule="resolution")
"""INFERRED: A token whose `aws:maximum-resolution` is below every rendition of the stream is denied with a 403: to play
a rendition above the cap would exceed what the token grants, and a playlist without renditions cannot be played. It
spends no single use. IVS documents only that renditions above the cap are left out."""
TOO_MANY_VIEWERS = EdgeError("too many concurrent viewers", "too_many_concurrent_viewers", rule="concurrent-views")
"""INFERRED: The 429 at the quota of concurrent views has the form of the other errors; text and code are our own."""

UNKNOWN_CHANNEL = EdgeError("Can not find channel", "transcode_does_not_exist")
"""INFERRED: The edge's 404 has the code, and for a channel that does not exist also the text, of a sister system of IVS
with the same form of errors."""
OFFLINE = EdgeError("channel is not live", UNKNOWN_CHANNEL.code)
NO_PLAYLIST = EdgeError("not a playback URL", UNKNOWN_CHANNEL.code)
NO_SESSION = EdgeError("Forbidden", observed="text", rule="session")
"""For a variant playlist or segment of a session that has ended or never existed."""
ABOVE_CAP = EdgeError("rendition is above the maximum resolution", rule="resolution")
"""INFERRED: A variant playlist or segment of a rendition above the session's maximum resolution is denied with a 403.
IVS documents only that the multivariant playlist leaves such renditions out."""
NO_MEDIA = EdgeError("no such rendition or segment", UNKNOWN_CHANNEL.code)


def error_of(failed_rule: RuleResult | None) -> EdgeError:
    """The error for the rule that a token failed; None means that the result is indeterminate."""
    if failed_rule is None:
        return INDETERMINATE
    error = ERRORS_BY_REASON.get((failed_rule.rule, failed_rule.reason)) or ERRORS[failed_rule.rule]
    return error._replace(rule=failed_rule.rule)


def denied_by(rule: str, reason: Reason = Reason.UNSPECIFIED) -> EdgeError:
    """The error of a rule that was found to fail outside of `validate`."""
    return error_of(RuleResult(rule, RuleStatus.FAIL, "", reason))


def strict_origin_error(origin: str) -> EdgeError:
    """The error of strict origin enforcement where no token is validated: public channels and running sessions."""
    return denied_by("strict-origin", Reason.UNSPECIFIED if origin else Reason.MISSING)


def error_body(path: str, query: str, error: EdgeError) -> bytes:
    """The body of an error."""
    query_without_token = "&".join(
        pair for pair, (name, _) in zip(_raw_pairs(query), _pairs(query), strict=True) if name != TOKEN_PARAMETER
    )
    url = f"{path}?{query_without_token}" if query_without_token else path
    entry = {"url": url, "error": error.text, "error_code": error.code, "type": "error"}
    body = json.dumps([entry], separators=(",", ":"))
    for char in "&<>":
        body = body.replace(char, f"\\u{ord(char):04x}")
    return body.encode()


def token_parameters(query: str) -> list[str]:
    """The values of all `token` parameters of a raw query string."""
    return [unquote_plus(value) for name, value in _pairs(query) if name == TOKEN_PARAMETER]


def _raw_pairs(query: str) -> list[str]:
    return [pair for pair in query.split("&") if pair]


def _pairs(query: str) -> list[tuple[str, str]]:
    split = (pair.partition("=") for pair in _raw_pairs(query))
    return [(unquote_plus(name), value) for name, _, value in split]
