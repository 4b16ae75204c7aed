"""Explaining tokens: every rule with its remedy, the mistakes of other signers by name, and this deployment's facts."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote_plus

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL, HEADER, NOW, OTHER_CHANNEL, encode_token, snapshot_of, with_claims
from tokensvc.errors import InvalidRequest
from tokensvc.jose.es384 import base64url_encode
from tokensvc.jose.keypair import PrivateKey, generate
from tokensvc.jose.private_key_text import contains_private_key
from tokensvc.local_ivs.edge.errors import ERRORS_BY_REASON
from tokensvc.tokens import claims as c
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.denylist import ViewerRestriction
from tokensvc.tokens.explain_request import (
    ExplanationView,
    read_explain_request,
    read_pasted,
    refuse_private_keys,
)
from tokensvc.tokens.explanation import DeploymentFacts, Explanation, KnownKey, claimed_channel, explain
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.remedies import REMEDIES, UNKNOWN
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.validation import RULES, Outcome, PlaybackAttempt, Reason, RuleStatus

KEY = generate()
UUID = "123e4567-e89b-12d3-a456-426614174000"
VIEWER: dict[str, Any] = {c.VIEWER_ID: "v"}


def facts(*keys: PrivateKey, restriction: ViewerRestriction | None = None) -> DeploymentFacts:
    """Those of a deployment with these active keys, and with this restriction of every viewer."""
    known = [KnownKey(f"k{n}", key.public_key(), "active", True) for n, key in enumerate(keys, 1)]
    return DeploymentFacts(keys=lambda _: known, restriction=lambda *_: restriction or ViewerRestriction())


def explained(token: str, known: DeploymentFacts | None = None, country: str | None = None, **how: Any) -> Explanation:
    usual: dict[str, Any] = {"now": NOW, "channel": CHANNEL, "origin": "https://a.example"}
    attempt = PlaybackAttempt(token, **(usual | how))
    return explain(attempt, facts(KEY) if known is None else known, country)


def row(explanation: Explanation, rule: str) -> tuple[RuleStatus, Reason, str]:
    return next((r.status, r.reason, remedy) for r, remedy in explanation.rules if r.rule == rule)


REQUESTS = st.builds(
    TokenRequest,
    channelArn=st.just(str(CHANNEL)),
    viewerId=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40),
    ttlSeconds=st.integers(1, 600),
    allowedOrigins=st.none() | st.just(["https://a.example"]),
    strictOriginEnforcement=st.booleans(),
    maximumResolution=st.sampled_from([None, "SD", "HD", "FULL_HD"]),
    singleUse=st.booleans(),
)


@pytest.mark.slow
@given(REQUESTS, st.integers(NOW - 10**6, NOW + 10**6))
def test_every_issued_token_is_explained_as_allowed(request: TokenRequest, now: int) -> None:
    """Except for the one thing that only IVS knows: whether a single-use token was used before."""
    token = prepare(request, TokenLimits(86_400, "default"), snapshot_of(KEY), now, lambda: UUID).signed()
    explanation = explained(token, now=now)
    outcome = Outcome.CONDITIONAL if request.single_use else Outcome.ALLOW
    assert (explanation.validation.outcome, explanation.signed_by) == (outcome, "k1")
    assert all(not remedy for result, remedy in explanation.rules if result.status is not RuleStatus.UNKNOWN)
    assert claimed_channel(token) == str(CHANNEL)


def test_the_results_are_those_of_all_rules_in_order_and_the_country() -> None:
    results = explained(with_claims(KEY, {})).validation.rule_results
    assert [result.rule for result in results] == [*(name for name, _ in RULES), "country"]


def test_there_is_a_remedy_for_each_rule_and_each_reason() -> None:
    names = [name for name, _ in RULES]
    assert {rule for rule, _ in REMEDIES} == set(names)
    assert {(name, Reason.UNSPECIFIED) for name in names} <= REMEDIES.keys()
    assert {reason for _, reason in REMEDIES} == set(Reason)
    assert REMEDIES.keys() >= ERRORS_BY_REASON.keys()
    assert all(text and text[0].islower() and "--" not in text for text in (*REMEDIES.values(), *UNKNOWN.values()))


def _signed_with(algorithm: str) -> str:
    keys: dict[str, Any] = {
        "HS256": "s" * 32,
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(65537, 2048),
        "none": "",
    }
    return jwt.encode({c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300}, keys[algorithm], algorithm=algorithm)


def _with_der_signature() -> str:
    header, payload, _ = with_claims(KEY, {}).split(".")
    der = KEY.sign(f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA384()))
    return f"{header}.{payload}.{base64url_encode(der).decode()}"


@pytest.mark.parametrize(
    ("token", "rule", "status", "reason"),
    [
        (with_claims(KEY, {c.EXP: NOW * 1000}), "expiry", "fail", "milliseconds"),
        (with_claims(KEY, VIEWER | {c.EXP: NOW * 1000}), "expiry", "fail", "milliseconds"),
        (_signed_with("HS256"), "algorithm", "fail", ""),
        (_signed_with("ES256"), "algorithm", "fail", ""),
        (_signed_with("RS256"), "algorithm", "fail", ""),
        (_signed_with("none"), "algorithm", "fail", "unsigned"),
        (_with_der_signature(), "signature", "fail", "der_signature"),
        (
            encode_token(KEY, HEADER | {"kid": "k"}, {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 9}),
            "header",
            "pass",
            "key_id",
        ),
        (with_claims(KEY, {"sub": "ada"}), "viewer", "not_applicable", "viewer_in_sub"),
        (with_claims(KEY, {c.ALLOW_ORIGIN: "https://a.example/watch"}), "origins", "fail", "origin_with_path"),
        (with_claims(KEY, {c.VIEWER_SESSION_VERSION: 1}), "viewer", "pass", "version_without_viewer"),
        (with_claims(KEY, VIEWER | {c.EXP: NOW + 601}), "ten-minutes", "fail", ""),
    ],
)
def test_each_classic_mistake_is_named_and_says_what_to_change(token: str, rule: str, status: str, reason: str) -> None:
    explanation = explained(token)
    found = row(explanation, rule)
    assert (found[0].value, found[1].value, bool(found[2])) == (status, reason, True)
    if status == "fail":
        assert (explanation.validation.outcome, explanation.validation.denied_by) == (Outcome.DENY, rule)
        assert explanation.reason.value == reason
    else:
        assert explanation.validation.outcome is Outcome.ALLOW


def test_a_revoked_version_and_a_denied_viewer_are_denied_by_the_revocation_rule() -> None:
    token = with_claims(KEY, VIEWER | {c.VIEWER_SESSION_VERSION: NOW})
    for restriction, reason in (
        (ViewerRestriction(minimum_version=NOW + 1), ""),
        (ViewerRestriction(denied_until=NOW + 60, minimum_version=NOW + 1), ""),
        (ViewerRestriction(denied_until=NOW + 60), "viewer_denied"),
    ):
        explanation = explained(token, facts(KEY, restriction=restriction))
        assert (explanation.validation.denied_by, explanation.reason.value) == ("revoked", reason)
    for restriction in (ViewerRestriction(minimum_version=NOW), ViewerRestriction(denied_until=NOW)):
        assert explained(token, facts(KEY, restriction=restriction)).validation.outcome is Outcome.ALLOW


def test_a_viewer_is_looked_up_in_the_channel_that_is_played() -> None:
    asked: list[tuple[str, str]] = []

    def restriction(channel: str, viewer: str) -> ViewerRestriction:
        asked.append((channel, viewer))
        return ViewerRestriction()

    known = facts(KEY)._replace(restriction=restriction)
    explained(with_claims(KEY, VIEWER), known, channel=OTHER_CHANNEL)
    explained(with_claims(KEY, VIEWER), known, channel=None)
    explained(with_claims(KEY, {}), known)
    explained(with_claims(KEY, {c.VIEWER_ID: 7}), known)
    explained(with_claims(KEY, VIEWER | {c.CHANNEL_ARN: "*"}), known, channel=None)
    assert asked == [(str(OTHER_CHANNEL), "v"), (str(CHANNEL), "v")]


def test_a_signature_of_no_known_key_is_unknown_and_never_a_failure() -> None:
    foreign = with_claims(generate(), {})
    for known in (facts(KEY), facts(), DeploymentFacts()):
        explanation = explained(foreign, known)
        assert (explanation.validation.outcome, explanation.signed_by) == (Outcome.INDETERMINATE, None)
        assert row(explanation, "signature")[0] is RuleStatus.UNKNOWN


def test_given_keys_are_all_keys() -> None:
    attempt = PlaybackAttempt(with_claims(generate(), {}), NOW, CHANNEL)
    assert explain(attempt, facts(KEY), keys=[KEY.public_key()]).validation.denied_by == "signature"


def test_a_key_that_ivs_no_longer_holds_denies() -> None:
    gone = DeploymentFacts(keys=lambda _: [KnownKey("k1", KEY.public_key(), "retired", False)])
    explanation = explained(with_claims(KEY, {}), gone)
    assert (explanation.validation.denied_by, explanation.signed_by) == ("signature", "k1")
    assert "no longer in IVS" in explanation.validation.message


def test_a_country_is_never_guessed() -> None:
    allowed = explained(with_claims(KEY, {}), country="DE")
    assert row(allowed, "country")[0] is RuleStatus.UNKNOWN
    assert allowed.validation.outcome is Outcome.CONDITIONAL
    assert allowed.validation.unless == ("the channel's playback restriction policy excludes the country",)
    assert row(explained(with_claims(KEY, {})), "country")[0] is RuleStatus.NOT_APPLICABLE
    assert explained(with_claims(KEY, {c.EXP: 1}), country="DE").validation.denied_by == "expiry"


@pytest.mark.slow
@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_any_text_is_explained_without_repeating_it(text: str) -> None:
    pasted = read_pasted(f"https://x.example{CHANNEL.playback_path}?token={quote_plus(text)}")
    assert (pasted.token, pasted.channel) == (text, CHANNEL)
    view = ExplanationView.of(explained(pasted.token))
    assert view.outcome == "deny"
    if len(text) > 30:
        assert text not in view.model_dump_json()


def test_a_url_with_two_tokens_is_refused_without_repeating_them() -> None:
    with pytest.raises(InvalidRequest, match="2 token parameters") as refused:
        read_pasted("https://x.example/?token=secret-a&%74oken=secret-b", "TOKEN")
    assert (refused.value.errors[0].field, "secret" in str(refused.value)) == ("TOKEN", False)
    assert read_pasted("https://[x?token=a").token == "a"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["token"]),
        ({"token": 1, "x": 2}, ["token", "x"]),
        ({"token": "a", "channelArn": "a"}, ["channelArn"]),
        ({"token": "a", "country": "Germany"}, ["country"]),
        ({"token": "a", "country": "de"}, ["country"]),
        ({"token": "a", "at": "now"}, ["at"]),
        ({"token": "a", "at": 5}, ["at"]),
        ({"token": "a", "origin": 1}, ["origin"]),
    ],
)
def test_every_bad_field_is_named(fields: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_explain_request(fields)
    assert [error.field for error in refused.value.errors] == names


# --- private keys ---


def _pem(key: Any = KEY, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, form, encryption).decode())


def _der(form: PrivateFormat, key: Any = KEY) -> str:
    return b64encode(key.private_bytes(Encoding.DER, form, NoEncryption())).decode()


JWK = json.dumps({"kty": "EC", "crv": "P-384", "x": "x", "y": "y", "d": "secret"})
RSA = rsa.generate_private_key(65537, 2048)
PRIVATE_KEYS = {
    "PKCS#8": _pem(),
    "SEC1": _pem(form=PrivateFormat.TraditionalOpenSSL),
    "RSA": _pem(RSA, PrivateFormat.TraditionalOpenSSL),
    "encrypted": _pem(password=b"x"),
    "OpenSSH": _pem(form=PrivateFormat.OpenSSH),
    "one line": _pem().replace("\n", ""),
    "half a block": _pem()[:60],
    "JSON escapes": json.dumps(_pem()),
    "twice in JSON": json.dumps(json.dumps({"key": _pem()})),
    "unicode escapes": "".join(f"\\u{ord(char):04x}" for char in _pem()),
    "percent encoding": quote_plus(_pem()),
    "PEM in base64": b64encode(_pem().encode()).decode(),
    "PKCS#8 in DER": _der(PrivateFormat.PKCS8),
    "SEC1 in DER": _der(PrivateFormat.TraditionalOpenSSL),
    "RSA in DER": _der(PrivateFormat.TraditionalOpenSSL, RSA),
    "PKCS#8 RSA in DER": _der(PrivateFormat.PKCS8, RSA),
    "JWK": JWK,
    "JWK in JSON": json.dumps(JWK),
    "JWK in base64": b64encode(JWK.encode()).decode(),
    "in a header": encode_token(KEY, HEADER | {"jwk": json.loads(JWK)}, {}),
    "in a URL": "https://x.example/?token=" + quote_plus(_pem()),
}


@pytest.mark.parametrize("name", PRIVATE_KEYS)
@pytest.mark.parametrize("field", ["token", "origin", "at", "unknown"])
def test_a_private_key_is_refused_by_the_field_s_name_alone(name: str, field: str) -> None:
    fields = {"token": "x", "country": "not a country", field: PRIVATE_KEYS[name]}
    with pytest.raises(InvalidRequest) as refused:
        read_explain_request(fields)
    assert [error.field for error in refused.value.errors] == [field]
    assert PRIVATE_KEYS[name][:40] not in str(refused.value)
    assert "contains a private key" in str(refused.value)


def test_a_private_key_is_refused_at_any_depth() -> None:
    deep: Any = _pem()
    for _ in range(3000):
        deep = [deep]
    for fields in ({"token": deep}, {"token": {"a": [{"kty": "EC", "d": "x"}]}}, json.loads(JWK)):
        with pytest.raises(InvalidRequest, match="private key"):
            refuse_private_keys(fields)


def test_tokens_and_public_keys_are_not_private_keys() -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    der = b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    jwk = json.dumps({"kty": "EC", "crv": "P-384", "x": "x", "y": "y"})
    for text in (public, der, jwk, _with_der_signature(), "d", '{"d": 1}', "PRIVATE KEY", str(CHANNEL)):
        assert not contains_private_key(text)
    for _ in range(200):
        assert not contains_private_key(with_claims(KEY, VIEWER))
