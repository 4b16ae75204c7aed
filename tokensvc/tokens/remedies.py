"""What to change when a playback rule finds something: one table for the HTTP API and the command line.

Invariants
- Each rule of `validation.py` has an entry, and each reason for which something else is to be changed has its own.
- A text names no command, option or setting: it is shown by both interfaces, and for tokens of any issuer.
"""

from __future__ import annotations

from tokensvc.tokens.validation import Reason, RuleResult, RuleStatus

_NONE = Reason.UNSPECIFIED
_COMPARE = "compare it with the token as it was issued: it was cut off, encoded twice or changed on its way"
_SECONDS = "divide it by 1000: IVS expects whole seconds (Date.now() in JavaScript returns milliseconds)"
_ORIGIN_FORM = "write scheme://host[:port] as a browser sends it, without a path and without a trailing slash"

REMEDIES: dict[tuple[str, Reason], str] = {
    ("size", _NONE): "shorten the list of origins or the ads parameters",
    ("segments", _NONE): "pass the playback URL to the player unchanged, with its whole token",
    ("segments", Reason.EMPTY): _COMPARE,
    ("encoding", _NONE): _COMPARE,
    ("header", _NONE): 'sign with the header {"alg":"ES384","typ":"JWT"}',
    ("header", Reason.KEY_ID): "leave kid out",
    ("algorithm", _NONE): "sign with ES384 (ECDSA, P-384, SHA-384), and with a key pair that is imported in IVS",
    ("algorithm", Reason.UNSIGNED): "sign the token, with ES384",
    ("signature", _NONE): (
        "sign with a key pair that is imported in the channel's account and region, and leave the token unchanged"
    ),
    ("signature", Reason.DER_SIGNATURE): (
        "convert the signature to raw r||s, 48 bytes each, or let a JWT library sign (in Node.js, dsaEncoding "
        "ieee-p1363)"
    ),
    ("payload", _NONE): "make the payload one JSON object in which each name occurs once",
    ("channel", _NONE): "request the token for the channel that is played",
    ("channel", Reason.MISSING): "set aws:channel-arn to the channel's ARN",
    ("channel", Reason.MALFORMED): "set aws:channel-arn to the channel's whole ARN; it takes no wildcards and no lists",
    ("expiry", _NONE): "request a new token when playback starts, and synchronize the clocks",
    ("expiry", Reason.MISSING): "set exp, in whole seconds since 1970",
    ("expiry", Reason.MALFORMED): "write exp as a JSON integer: whole seconds since 1970",
    ("expiry", Reason.MILLISECONDS): _SECONDS,
    ("not-yet", _NONE): "leave iat and nbf out, or synchronize the signer's clock",
    ("not-yet", Reason.MALFORMED): "leave iat and nbf out",
    ("not-yet", Reason.MILLISECONDS): _SECONDS,
    ("ten-minutes", _NONE): (
        "shorten the lifetime to ten minutes at most, minus the possible clock skew; or leave out viewer id and "
        "single use"
    ),
    ("viewer", _NONE): "use a viewer id of 1 to 40 characters, and a whole number as session version",
    ("viewer", Reason.MALFORMED): "use a viewer id of 1 to 40 characters, and a whole number as session version",
    ("viewer", Reason.VIEWER_IN_SUB): "write the viewer's id into aws:viewer-id instead of sub",
    ("viewer", Reason.VERSION_WITHOUT_VIEWER): "add aws:viewer-id, or leave the session version out",
    ("revoked", _NONE): "request a new token once the viewer may return",
    ("revoked", Reason.VIEWER_DENIED): "wait until the denial ends, or remove it",
    ("single-use", _NONE): "request a new token for each start of playback",
    ("single-use", Reason.MALFORMED): "set aws:single-use-uuid to a random UUID",
    ("origins", _NONE): "list at most five origins with strict origin enforcement",
    ("origins", Reason.MALFORMED): f"write the origins as one string, separated by commas; {_ORIGIN_FORM}",
    ("origins", Reason.ORIGIN_WITH_PATH): _ORIGIN_FORM,
    ("strict-origin", _NONE): "list the player's origin exactly as the browser sends it: scheme, host and port",
    ("strict-origin", Reason.MISSING): (
        "make the player send an Origin header, or request the token without strict origin enforcement"
    ),
    ("strict-origin", Reason.MALFORMED): "write aws:strict-origin-enforcement as true or false",
    ("strict-origin", Reason.ORIGIN_WITH_PATH): "give the Origin header alone, not the page's address",
    ("resolution", _NONE): "use SD, HD or FULL_HD",
    ("ads", _NONE): "use the documented types and values, and at most 1000 bytes of player parameters",
}
"""By rule and reason; where a reason has no entry, that of the rule applies."""

UNKNOWN: dict[str, str] = {
    "signature": "validate the token where the public key is known",
    "revoked": "ask the deployment that revokes this channel's viewers",
    "single-use": "request a new token if this one may have started playback before",
    "strict-origin": "give the Origin header that the player sends; an empty one for none",
    "country": "compare the country with the allowed countries of the channel's playback restriction policy",
}
"""What to do about a rule whose result is unknown."""


def remedy_of(result: RuleResult) -> str:
    """What to change; "" where nothing has to be."""
    if result.status is RuleStatus.UNKNOWN:
        return UNKNOWN[result.rule]
    own = REMEDIES.get((result.rule, result.reason), "")
    if result.status is RuleStatus.FAIL:
        return own or REMEDIES[result.rule, _NONE]
    return own if result.reason is not _NONE else ""
