"""The playback rules: each denies under its own name, in the table's order, and unknown facts leave the outcome
open."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.tokens import CHANNEL, HEADER, NOW, OTHER_CHANNEL, encode_token, with_claims
from tokensvc.jose import keypair
from tokensvc.jose.es384 import base64url_encode
from tokensvc.jose.keypair import PrivateKey
from tokensvc.tokens import claims as c
from tokensvc.tokens.validation import (
    NOTHING_REVOKED,
    RULES,
    Outcome,
    PlaybackAttempt,
    Reason,
    RuleStatus,
    ValidationResult,
    validate,
)

UUID = "123e4567-e89b-12d3-a456-426614174000"
VIEWER: dict[str, Any] = {c.VIEWER_ID: "v"}
ORIGIN = "https://a.example"
STRICT: dict[str, Any] = {c.ALLOW_ORIGIN: "https://a.example,https://*.b.example", c.STRICT_ORIGIN: True}


def validated(key: PrivateKey, token: str, **known: Any) -> ValidationResult:
    """The result at an edge that knows every fact, except as given."""
    everything: dict[str, Any] = {
        "now": NOW,
        "channel": CHANNEL,
        "keys": [key.public_key()],
        "origin": ORIGIN,
        "spent": False,
        "revoked_version": NOTHING_REVOKED,
    }
    return validate(PlaybackAttempt(token, **(everything | known)))


def status_of(result: ValidationResult, rule: str) -> RuleStatus:
    return next(f.status for f in result.rule_results if f.rule == rule)


def test_the_rules_are_in_this_order() -> None:
    """Form, signature, payload. Repeated here because people and programs see the names."""
    assert [name for name, _ in RULES] == [
        "size", "segments", "encoding", "header", "algorithm", "signature", "payload", "channel", "expiry", "not-yet",
        "ten-minutes", "viewer", "revoked", "single-use", "origins", "strict-origin", "resolution", "ads",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "claims",
    [
        {},
        VIEWER | {c.VIEWER_SESSION_VERSION: NOW},
        {c.VIEWER_SESSION_VERSION: 0},
        VIEWER | {c.EXP: NOW + 600},
        {c.EXP: NOW + 10**9},
        {c.EXP: NOW + 1},
        {c.SINGLE_USE_UUID: UUID},
        {c.ALLOW_ORIGIN: "*"},
        {c.ALLOW_ORIGIN: ",".join(["https://z.example"] * 7)},
        STRICT,
        {c.STRICT_ORIGIN: True},
        {c.STRICT_ORIGIN: False},
        {c.MAXIMUM_RESOLUTION: "SD"},
        {c.ADS_OPT_OUT: True, c.ADS_PLAYER_PARAMS: {"k": "v"}},
        {c.ADS_PLAYBACK_CONFIG_NAME: "summer", c.ADS_REPORTING_MODE: "CLIENT"},
        {"iat": NOW, "nbf": NOW, "iss": "someone", "sub": "x", "jti": "y", "mine": {"deep": [1]}},
        {"iat": NOW - 0.5},
    ],
)  # fmt: skip
def test_documented_claims_are_allowed(private_key: PrivateKey, claims: dict[str, Any]) -> None:
    result = validated(private_key, with_claims(private_key, claims))
    assert (result.outcome, result.denied_by, result.message) == (Outcome.ALLOW, None, "playback is allowed")
    assert {f.status for f in result.rule_results} <= {RuleStatus.PASS, RuleStatus.NOT_APPLICABLE}
    assert result.claims.items() >= claims.items()


@pytest.mark.parametrize(
    ("rule", "claims"),
    [
        ("channel", {c.CHANNEL_ARN: None}),
        ("channel", {c.CHANNEL_ARN: str(OTHER_CHANNEL)}),
        ("channel", {c.CHANNEL_ARN: str(CHANNEL).replace("us-east-1", "eu-west-1")}),
        ("channel", {c.CHANNEL_ARN: str(CHANNEL).lower()}),
        ("channel", {c.CHANNEL_ARN: [str(CHANNEL)]}),
        ("channel", {c.CHANNEL_ARN: "*"}),
        ("expiry", {c.EXP: None}),
        ("expiry", {c.EXP: NOW}),
        ("expiry", {c.EXP: NOW - 1}),
        ("expiry", {c.EXP: -1}),
        ("expiry", {c.EXP: NOW + 0.5}),
        ("expiry", {c.EXP: str(NOW + 300)}),
        ("expiry", {c.EXP: True}),
        ("expiry", {c.EXP: 2**63}),
        ("not-yet", {"nbf": NOW + 1}),
        ("not-yet", {"iat": NOW + 1}),
        ("not-yet", {"iat": NOW, "nbf": NOW + 60}),
        ("not-yet", {"iat": str(NOW)}),
        ("not-yet", {"nbf": True}),
        ("not-yet", {"nbf": [1]}),
        ("ten-minutes", VIEWER | {c.EXP: NOW + 601}),
        ("ten-minutes", {c.SINGLE_USE_UUID: UUID, c.EXP: NOW + 601}),
        ("expiry", {c.EXP: NOW * 1000}),
        ("expiry", VIEWER | {c.EXP: NOW * 1000}),
        ("viewer", {c.VIEWER_ID: ""}),
        ("viewer", {c.VIEWER_ID: "v" * 41}),
        ("viewer", {c.VIEWER_ID: 7}),
        ("viewer", {c.VIEWER_SESSION_VERSION: "1"}),
        ("viewer", VIEWER | {c.VIEWER_SESSION_VERSION: 1.0}),
        ("viewer", VIEWER | {c.VIEWER_SESSION_VERSION: 2**63}),
        ("single-use", {c.SINGLE_USE_UUID: "abc"}),
        ("single-use", {c.SINGLE_USE_UUID: 1}),
        ("origins", {c.ALLOW_ORIGIN: ["https://a.example"]}),
        ("origins", {c.ALLOW_ORIGIN: ""}),
        ("origins", {c.ALLOW_ORIGIN: "https://a.example/"}),
        ("origins", {c.ALLOW_ORIGIN: ",".join([ORIGIN] * 6), c.STRICT_ORIGIN: True}),
        ("origins", {c.STRICT_ORIGIN: "true"}),
        ("strict-origin", {c.ALLOW_ORIGIN: "https://c.example", c.STRICT_ORIGIN: True}),
        ("resolution", {c.MAXIMUM_RESOLUTION: "4K"}),
        ("resolution", {c.MAXIMUM_RESOLUTION: 720}),
        ("ads", {c.ADS_OPT_OUT: "yes"}),
        ("ads", {c.ADS_PLAYER_PARAMS: {"k": 1}}),
        ("ads", {c.ADS_PLAYER_PARAMS: {"k": "v" * 1000}}),
        ("ads", {c.ADS_PLAYBACK_CONFIG_NAME: ""}),
        ("ads", {c.ADS_REPORTING_MODE: "BOTH"}),
    ],
)
def test_a_signed_invalid_claim_is_denied_by_its_rule(
    private_key: PrivateKey, rule: str, claims: dict[str, Any]
) -> None:
    result = validated(private_key, with_claims(private_key, claims))
    assert (result.outcome, result.denied_by) == (Outcome.DENY, rule)
    assert status_of(result, "signature") is RuleStatus.PASS


@pytest.mark.parametrize("name", [n for n in c.CHECKS if n not in ("exp", c.CHANNEL_ARN)])
def test_a_null_claim_is_denied(private_key: PrivateKey, name: str) -> None:
    """IVS documents types, and null is not among them; `explain` must not treat it as absent."""
    payload = json.dumps({c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300, name: None}).encode()
    assert validated(private_key, encode_token(private_key, HEADER, payload)).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("rule", "header"),
    [
        ("header", b"[]"),
        ("header", b"{"),
        ("header", b'{"alg":"ES384","alg":"ES384"}'),
        ("header", b'{"typ":"JWT"}'),
        ("header", b'{"alg":null}'),
        ("header", b'{"alg":["ES384"]}'),
        ("header", b'{"alg":"ES384","typ":"at+jwt"}'),
        ("header", b'{"alg":"ES384","typ":null}'),
        ("header", b'{"alg":"ES384","crit":["exp"]}'),
        ("header", b'\xef\xbb\xbf{"alg":"ES384"}'),
        ("algorithm", b'{"alg":"none"}'),
        ("algorithm", b'{"alg":"HS384","typ":"JWT"}'),
        ("algorithm", b'{"alg":"ES256","typ":"JWT"}'),
        ("algorithm", b'{"alg":"es384","typ":"JWT"}'),
        ("algorithm", b'{"alg":""}'),
    ],
)
def test_a_signed_invalid_header_is_denied_by_its_rule(private_key: PrivateKey, rule: str, header: bytes) -> None:
    payload = {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300}
    assert validated(private_key, encode_token(private_key, header, payload)).denied_by == rule


def test_undocumented_header_fields_are_allowed(private_key: PrivateKey) -> None:
    payload = {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300}
    for header in ({"typ": "JWT", "alg": "ES384"}, {"alg": "ES384"}, {"alg": "ES384", "kid": "x", "jwk": {}}):
        assert validated(private_key, encode_token(private_key, header, payload)).outcome is Outcome.ALLOW


@pytest.mark.parametrize("payload", [b"[]", b"null", b"{", b'{"exp":1,"exp":1}', b'{"exp":NaN}', b"\xff"])
def test_a_signed_invalid_payload_is_denied_by_its_rule(private_key: PrivateKey, payload: bytes) -> None:
    result = validated(private_key, encode_token(private_key, HEADER, payload))
    assert result.denied_by == "payload"
    assert result.claims == {}


def test_a_duplicate_member_is_denied_even_with_equal_values(private_key: PrivateKey) -> None:
    payload = f'{{"aws:channel-arn":"{CHANNEL}","exp":{NOW + 300},"exp":{NOW + 300}}}'.encode()
    assert validated(private_key, encode_token(private_key, HEADER, payload)).denied_by == "payload"
    nested = f'{{"aws:channel-arn":"{CHANNEL}","exp":{NOW + 300},"x":{{"a":1,"a":1}}}}'.encode()
    assert validated(private_key, encode_token(private_key, HEADER, nested)).denied_by == "payload"


def test_malformed_tokens_are_denied_for_their_form(private_key: PrivateKey) -> None:
    whole = with_claims(private_key, {})
    header, payload, signature = whole.split(".")
    for token in ("", ".", "..", "a.b", f"{header}..{signature}", f".{payload}.{signature}", f"{whole}.", whole + ".x"):
        assert validated(private_key, token).denied_by == "segments"
    assert validated(private_key, "").message == "the token is empty"
    assert validated(private_key, "a.b").message == "the token has 2 segments; it must have 3"
    assert validated(private_key, f"{header}..{signature}").message == "the token's payload is empty"
    assert validated(private_key, f"{header}.{payload}.").denied_by == "signature"
    for token in (f"{whole}=", f"{whole} ", f" {whole}", whole + "\n", f"{header}=.{payload}.{signature}"):
        assert validated(private_key, token).denied_by == "encoding"


def test_tokens_of_at_most_2000_bytes_are_allowed(private_key: PrivateKey) -> None:
    sizes = {len(t): t for n in range(1240, 1320) for t in [with_claims(private_key, {"x": "y" * n})]}
    assert validated(private_key, sizes[2000]).outcome is Outcome.ALLOW
    longer = min(size for size in sizes if size > 2000)
    assert validated(private_key, sizes[longer]).denied_by == "size"


def test_the_size_counts_bytes_and_not_characters(private_key: PrivateKey) -> None:
    assert status_of(validated(private_key, "é" * 1001), "size") is RuleStatus.FAIL


def test_a_short_or_der_signature_is_denied_with_its_length(private_key: PrivateKey) -> None:
    header, payload, signature = with_claims(private_key, {}).split(".")
    result = validated(private_key, f"{header}.{payload}.{signature[:-4]}")
    assert (result.denied_by, result.message) == (
        "signature",
        "the signature has 93 bytes; raw r||s of P-384 has 96",
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_der_signature_is_named_whether_the_key_is_known_or_not(private_key: PrivateKey, known: bool) -> None:
    """What most ECDSA libraries make, where JWS wants r||s. An integer is shorter when its first bytes are zero."""
    header, payload, _ = with_claims(private_key, {}).split(".")
    der = private_key.sign(f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA384()))
    small = encode_dss_signature(1, 2**383)
    for signature in (der, small):
        token = f"{header}.{payload}.{base64url_encode(signature).decode()}"
        failed = validated(private_key, token, **({} if known else {"keys": None})).failed_rule
        assert failed is not None
        assert (failed.rule, failed.reason) == ("signature", Reason.DER_SIGNATURE)


@pytest.mark.parametrize(
    "signature", [b"", b"0", b"0\x06\x02\x01\x01\x02\x01", b"0\x07\x02\x7f\x01\x02\x01\x01\x00", b"0" * 95]
)
def test_other_bytes_are_not_taken_for_a_der_signature(private_key: PrivateKey, signature: bytes) -> None:
    header, payload, _ = with_claims(private_key, {}).split(".")
    failed = validated(private_key, f"{header}.{payload}.{base64url_encode(signature).decode()}").failed_rule
    assert failed is not None
    assert (failed.rule, failed.reason) == ("signature", Reason.UNSPECIFIED)


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [
        ("https://a.example/watch", Reason.ORIGIN_WITH_PATH),
        ("https://a.example/", Reason.ORIGIN_WITH_PATH),
        ("https://b.example,https://*.a.example:8443/x?y#z", Reason.ORIGIN_WITH_PATH),
        ("https://a.example#", Reason.ORIGIN_WITH_PATH),
        ("https://A.example/watch", Reason.MALFORMED),
        ("a.example/watch", Reason.MALFORMED),
        ("https://a.example/,b", Reason.MALFORMED),
        (["https://a.example/watch"], Reason.MALFORMED),
    ],
)
def test_an_allowed_origin_with_a_path_is_named(private_key: PrivateKey, allowed: object, reason: Reason) -> None:
    failed = validated(private_key, with_claims(private_key, {c.ALLOW_ORIGIN: allowed})).failed_rule
    assert failed is not None
    assert (failed.rule, failed.reason) == ("origins", reason)


def test_a_path_in_the_origin_header_is_named(private_key: PrivateKey) -> None:
    token = with_claims(private_key, STRICT)
    for origin, reason in (("https://a.example/watch", Reason.ORIGIN_WITH_PATH), ("a.example", Reason.UNSPECIFIED)):
        failed = validated(private_key, token, origin=origin).failed_rule
        assert failed is not None
        assert (failed.rule, failed.reason) == ("strict-origin", reason)


@pytest.mark.parametrize(
    ("rule", "header", "claims", "reason"),
    [
        ("header", {"kid": "k1"}, {}, Reason.KEY_ID),
        ("viewer", {}, {"sub": "ada"}, Reason.VIEWER_IN_SUB),
        ("viewer", {}, {c.VIEWER_SESSION_VERSION: 1}, Reason.VERSION_WITHOUT_VIEWER),
        ("viewer", {}, VIEWER | {"sub": "ada"}, Reason.UNSPECIFIED),
    ],
)
def test_a_mistake_that_denies_nothing_is_named(
    private_key: PrivateKey, rule: str, header: dict[str, str], claims: dict[str, Any], reason: Reason
) -> None:
    payload = {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300} | claims
    result = validated(private_key, encode_token(private_key, HEADER | header, payload))
    assert result.outcome is Outcome.ALLOW
    assert [f.reason for f in result.rule_results if f.rule == rule] == [reason]


def test_a_viewer_that_the_deployment_denies_is_denied_until_then(private_key: PrivateKey) -> None:
    token = with_claims(private_key, VIEWER)
    failed = validated(private_key, token, denied_until=NOW + 1).failed_rule
    assert failed is not None
    assert (failed.rule, failed.reason) == ("revoked", Reason.VIEWER_DENIED)
    assert validated(private_key, token, denied_until=NOW).outcome is Outcome.ALLOW


def test_every_key_of_the_account_and_region_is_tried_and_no_other(private_key: PrivateKey) -> None:
    token, unrelated = with_claims(private_key, {}), keypair.generate().public_key()
    assert validated(private_key, token, keys=[unrelated, private_key.public_key()]).outcome is Outcome.ALLOW
    assert validated(private_key, token, keys=[unrelated]).denied_by == "signature"
    assert validated(private_key, token, keys=[]).denied_by == "signature"


@pytest.mark.parametrize(
    ("claims", "unknown", "rule"),
    [
        ({}, "keys", "signature"),
        (STRICT, "origin", "strict-origin"),
        (VIEWER | STRICT, "origin", "strict-origin"),
    ],
)
def test_facts_that_the_caller_can_supply_leave_the_outcome_indeterminate(
    private_key: PrivateKey, claims: dict[str, Any], unknown: str, rule: str
) -> None:
    result = validated(private_key, with_claims(private_key, claims), **{unknown: None}, revoked_version=None)
    assert (result.outcome, result.denied_by) == (Outcome.INDETERMINATE, None)
    assert status_of(result, rule) is RuleStatus.UNKNOWN


@pytest.mark.parametrize(
    ("claims", "unknown", "unless", "message"),
    [
        (VIEWER, {"revoked_version": None}, ("revoked",), "allowed unless revoked"),
        ({c.SINGLE_USE_UUID: UUID}, {"spent": None}, ("already used",), "allowed unless already used"),
        (
            VIEWER | {c.SINGLE_USE_UUID: UUID},
            {"spent": None, "revoked_version": None},
            ("revoked", "already used"),
            "allowed unless revoked or already used",
        ),
    ],
)
def test_facts_that_only_ivs_knows_make_the_outcome_conditional(
    private_key: PrivateKey, claims: dict[str, Any], unknown: dict[str, None], unless: tuple[str, ...], message: str
) -> None:
    result = validated(private_key, with_claims(private_key, claims), **unknown)
    assert (result.outcome, result.denied_by) == (Outcome.CONDITIONAL, None)
    assert result.unless == unless
    assert result.message.startswith(message + ": only IVS knows")
    denied = validated(private_key, with_claims(private_key, claims | {c.EXP: NOW}), **unknown)
    assert (denied.outcome, denied.denied_by) == (Outcome.DENY, "expiry"), "a known failure denies, whatever is unknown"
    assert denied.unless == ()


@pytest.mark.parametrize(
    ("rule", "claims", "reason"),
    [
        ("channel", {c.CHANNEL_ARN: None}, Reason.MISSING),
        ("channel", {c.CHANNEL_ARN: "*"}, Reason.MALFORMED),
        ("channel", {c.CHANNEL_ARN: str(OTHER_CHANNEL)}, Reason.UNSPECIFIED),
        ("expiry", {c.EXP: None}, Reason.MISSING),
        ("expiry", {c.EXP: str(NOW + 300)}, Reason.MALFORMED),
        ("expiry", {c.EXP: NOW + 0.5}, Reason.MALFORMED),
        ("expiry", {c.EXP: NOW * 1000}, Reason.MILLISECONDS),
        ("expiry", {c.EXP: NOW}, Reason.UNSPECIFIED),
        ("not-yet", {"iat": str(NOW)}, Reason.MALFORMED),
        ("not-yet", {"nbf": NOW * 1000}, Reason.MILLISECONDS),
        ("not-yet", {"nbf": NOW + 1}, Reason.UNSPECIFIED),
        ("single-use", {c.SINGLE_USE_UUID: "abc"}, Reason.MALFORMED),
    ],
)
def test_a_rule_that_can_fail_in_several_ways_states_the_reason(
    private_key: PrivateKey, rule: str, claims: dict[str, Any], reason: Reason
) -> None:
    refusal = validated(private_key, with_claims(private_key, claims)).failed_rule
    assert refusal is not None
    assert (refusal.rule, refusal.reason) == (rule, reason)
    assert ("milliseconds" in refusal.message) is (reason is Reason.MILLISECONDS)


def test_a_missing_origin_is_distinguished_from_a_wrong_one(private_key: PrivateKey) -> None:
    token = with_claims(private_key, STRICT)
    for origin, reason in (("", Reason.MISSING), ("https://c.example", Reason.UNSPECIFIED)):
        refusal = validated(private_key, token, origin=origin).failed_rule
        assert refusal is not None
        assert (refusal.rule, refusal.reason) == ("strict-origin", reason)


def test_an_unsigned_token_is_reported_as_unsigned(private_key: PrivateKey) -> None:
    """RFC 7519, section 6: `alg` is none and the third segment is empty."""
    payload = {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300}
    unsigned = jwt.encode(payload, "", algorithm="none")
    assert unsigned.endswith(".")
    for keys in ([private_key.public_key()], None):
        refusal = validated(private_key, unsigned, keys=keys).failed_rule
        assert refusal is not None
        assert (refusal.rule, refusal.reason) == ("algorithm", Reason.UNSIGNED)
        assert "alg is none" in refusal.message


def test_a_signature_of_the_wrong_length_is_denied_without_a_key(private_key: PrivateKey) -> None:
    header, payload, signature = with_claims(private_key, {}).split(".")
    assert validated(private_key, f"{header}.{payload}.{signature[:-4]}", keys=None).denied_by == "signature"


def test_without_a_requested_channel_only_the_form_of_the_arn_is_checked(private_key: PrivateKey) -> None:
    assert validated(private_key, with_claims(private_key, {}), channel=None).outcome is Outcome.ALLOW


def test_a_used_single_use_token_is_denied(private_key: PrivateKey) -> None:
    token = with_claims(private_key, {c.SINGLE_USE_UUID: UUID})
    assert validated(private_key, token, spent=True).denied_by == "single-use"
    assert validated(private_key, with_claims(private_key, {}), spent=True).outcome is Outcome.ALLOW


@pytest.mark.parametrize("origin", ["", "null", "https://b.example", "https://a.example:8443", "http://a.example"])
def test_strict_enforcement_requires_an_allowed_origin(private_key: PrivateKey, origin: str) -> None:
    assert validated(private_key, with_claims(private_key, STRICT), origin=origin).denied_by == "strict-origin"
    loose = STRICT | {c.STRICT_ORIGIN: False}
    assert validated(private_key, with_claims(private_key, loose), origin=origin).outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    ("claims", "revoked", "status"),
    [
        ({}, 5, RuleStatus.NOT_APPLICABLE),
        ({c.VIEWER_SESSION_VERSION: 1}, 5, RuleStatus.NOT_APPLICABLE),
        (VIEWER, NOTHING_REVOKED, RuleStatus.PASS),
        (VIEWER, 0, RuleStatus.FAIL),
        (VIEWER | {c.VIEWER_SESSION_VERSION: 1}, 0, RuleStatus.PASS),
        (VIEWER | {c.VIEWER_SESSION_VERSION: 5}, 5, RuleStatus.FAIL),
        (VIEWER | {c.VIEWER_SESSION_VERSION: 6}, 5, RuleStatus.PASS),
        (VIEWER | {c.VIEWER_SESSION_VERSION: -(2**63)}, NOTHING_REVOKED, RuleStatus.PASS),
        (VIEWER | {c.VIEWER_SESSION_VERSION: -1}, 0, RuleStatus.FAIL),
    ],
)
def test_versions_up_to_the_revoked_one_are_denied(
    private_key: PrivateKey, claims: dict[str, Any], revoked: int, status: RuleStatus
) -> None:
    """IVS user guide, "Start a Viewer Session Revocation"; a token without a version has version 0."""
    result = validated(private_key, with_claims(private_key, claims), revoked_version=revoked)
    assert status_of(result, "revoked") is status
    assert result.denied_by == ("revoked" if status is RuleStatus.FAIL else None)


def test_a_revoked_session_is_denied_before_a_used_single_use_token(private_key: PrivateKey) -> None:
    token = with_claims(private_key, VIEWER | {c.SINGLE_USE_UUID: UUID})
    assert validated(private_key, token, revoked_version=0, spent=True).denied_by == "revoked"


def test_strict_enforcement_without_a_list_requires_any_origin(private_key: PrivateKey) -> None:
    token = with_claims(private_key, {c.STRICT_ORIGIN: True})
    assert validated(private_key, token, origin="").denied_by == "strict-origin"
    assert validated(private_key, token, origin="https://any.example").outcome is Outcome.ALLOW
    assert validated(private_key, token, origin="https://any.example/path").denied_by == "strict-origin"


@pytest.mark.parametrize("origin", ["https://evil.com/.a.com", "https://evil.com@x.a.com", "https://evil.com#.a.com"])
@pytest.mark.parametrize("allowed", ["https://*.a.com", "*"])
def test_strict_enforcement_denies_a_malformed_origin_header(
    private_key: PrivateKey, allowed: str, origin: str
) -> None:
    token = with_claims(private_key, {c.ALLOW_ORIGIN: allowed, c.STRICT_ORIGIN: True})
    assert validated(private_key, token, origin="https://x.a.com").outcome is Outcome.ALLOW
    assert validated(private_key, token, origin=origin).denied_by == "strict-origin"


def test_the_first_failed_rule_denies_and_all_results_are_reported(private_key: PrivateKey) -> None:
    token = with_claims(private_key, {c.EXP: NOW, c.VIEWER_ID: 5, c.MAXIMUM_RESOLUTION: "4K"})
    result = validated(private_key, token)
    assert result.denied_by == "expiry"
    assert [f.rule for f in result.rule_results] == [name for name, _ in RULES]
    assert [f.rule for f in result.rule_results if f.status is RuleStatus.FAIL] == ["expiry", "viewer", "resolution"]
