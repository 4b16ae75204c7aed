"""Bearer tokens of viewer apps: which are accepted, and why others are not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.clocks import ManualClock
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, running_issuer
from tokensvc.callers.bearer import CACHE_SECONDS, MAX_LENGTH, MESSAGE, BearerReason, BearerVerifier
from tokensvc.callers.jwks import TTL_SECONDS
from tokensvc.callers.policy import BearerPolicy, Caller, CallerPolicy, ViewerLogin
from tokensvc.errors import Unauthenticated

NOW = ManualClock().now()
MONOTONIC = 1000.0
CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abc"


@pytest.fixture(scope="module")
def _shared_issuer() -> Iterator[OidcIssuer]:
    with running_issuer() as running:
        yield running


class App:
    """A viewer app, and what verifies its tokens."""

    def __init__(self, issuer: OidcIssuer, **policy: Any) -> None:
        self.issuer = issuer
        self.verifier = BearerVerifier()
        self.use(**policy)
        self.monotonic = MONOTONIC

    def use(self, **policy: Any) -> None:
        bearer = replace(BearerPolicy(self.issuer.url, AUDIENCE), **policy)
        self.bearers = {(bearer.issuer, bearer.audience): Caller("app", CallerPolicy(("*",), bearer=bearer))}

    def login(self, token: str, now: float = NOW) -> ViewerLogin:
        for caller in self.bearers.values():
            assert caller.policy.bearer is not None
            self.verifier.keys(caller.policy.bearer).refresh(None, self.monotonic)
        login = self.verifier.verify(token, self.bearers, now, self.monotonic).login
        assert login is not None
        return login

    def cached(self, token: str, now: float = NOW) -> Caller | None:
        return self.verifier.cached(token, self.bearers, now, self.monotonic)


@pytest.fixture
def issuer(_shared_issuer: OidcIssuer) -> OidcIssuer:
    return _shared_issuer


@pytest.fixture
def app(issuer: OidcIssuer) -> App:
    return App(issuer)


def _token(issuer: OidcIssuer, **claims: Any) -> str:
    return issuer.token(**{"exp": int(NOW) + 60, **claims})


def _reason(app: App, token: str, now: float = NOW) -> str:
    with pytest.raises(Unauthenticated) as raised:
        app.login(token, now)
    assert raised.value.message == MESSAGE, "one text for all reasons"
    assert raised.value.credentials_sent
    return raised.value.reason


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_valid_token_names_the_viewer(app: App, issuer: OidcIssuer) -> None:
    assert app.login(_token(issuer)) == ViewerLogin("viewer-1")
    assert app.login(_token(issuer, aud=["another", AUDIENCE])) == ViewerLogin("viewer-1")


def test_another_claim_may_be_the_viewer(issuer: OidcIssuer) -> None:
    assert App(issuer, viewer_claim="email").login(_token(issuer, email="a@example.com")).subject == "a@example.com"


def test_elliptic_curve_keys_are_accepted_where_the_policy_lists_them(issuer: OidcIssuer) -> None:
    with running_issuer() as other:
        other.rotate("ec", ec.generate_private_key(ec.SECP256R1()))
        assert App(other, algorithms=("ES256",)).login(_token(other)).subject == "viewer-1"
        assert _reason(App(other), _token(other)) == BearerReason.ALGORITHM


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "another"}, BearerReason.UNKNOWN_ISSUER),
        ({"aud": []}, BearerReason.UNKNOWN_ISSUER),
        ({"aud": None}, BearerReason.MALFORMED),
        ({"aud": [AUDIENCE] * 17}, BearerReason.MALFORMED),
        ({"iss": "https://evil.example.com"}, BearerReason.UNKNOWN_ISSUER),
        ({"iss": None}, BearerReason.MALFORMED),
        ({"exp": None}, BearerReason.NO_EXPIRY),
        ({"exp": int(NOW) - 31}, BearerReason.EXPIRED),
        ({"nbf": int(NOW) + 31}, BearerReason.NOT_YET_VALID),
        ({"iat": int(NOW) + 31}, BearerReason.NOT_YET_VALID),
        ({"sub": None}, BearerReason.NO_VIEWER),
        ({"sub": ""}, BearerReason.NO_VIEWER),
        ({"sub": "x" * 1025}, BearerReason.NO_VIEWER),
        ({"long": "x" * MAX_LENGTH}, BearerReason.TOO_LONG),
    ],
)
def test_a_claim_that_breaks_a_rule_is_named_in_the_log(
    app: App, issuer: OidcIssuer, claims: dict[str, Any], reason: BearerReason
) -> None:
    assert _reason(app, _token(issuer, **claims)) == reason


def test_clocks_may_differ_by_the_leeway(app: App, issuer: OidcIssuer) -> None:
    assert app.login(_token(issuer, exp=int(NOW) - 29, nbf=int(NOW) + 29, iat=int(NOW) + 29))
    app.use(leeway_seconds=0)
    assert _reason(app, _token(issuer, exp=int(NOW))) == BearerReason.EXPIRED


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"jku": "https://evil.example.com/"}, BearerReason.KEY_IN_HEADER),
        ({"x5u": "https://evil.example.com/"}, BearerReason.KEY_IN_HEADER),
        ({"x5c": ["AA"]}, BearerReason.KEY_IN_HEADER),
        ({"jwk": {"kty": "oct", "k": "AA"}}, BearerReason.KEY_IN_HEADER),
        ({"crit": ["exp"]}, BearerReason.CRITICAL_HEADER),
        ({"cty": "JWT"}, BearerReason.NESTED),
        ({"kid": "x" * 257}, BearerReason.INVALID_KID),
        ({"kid": "../../etc/passwd"}, BearerReason.UNKNOWN_KEY),
        ({"kid": "' OR 1=1 --"}, BearerReason.UNKNOWN_KEY),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(
    app: App, issuer: OidcIssuer, headers: dict[str, Any], reason: BearerReason
) -> None:
    assert _reason(app, _token(issuer, headers=headers)) == reason


def test_unsigned_tokens_are_refused(app: App, issuer: OidcIssuer) -> None:
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "viewer-1", "exp": int(NOW) + 60}
    for algorithm in ("none", "None", "NONE"):
        assert _reason(app, f"{_part({'alg': algorithm})}.{_part(claims)}.") == BearerReason.ALGORITHM


@pytest.mark.parametrize("algorithms", [("RS256",), ("RS256", "HS256")])
def test_the_public_key_is_not_a_shared_secret(issuer: OidcIssuer, algorithms: tuple[str, ...]) -> None:
    """Key confusion, RFC 8725, section 2.1. Even a policy that lists HS256 by a bug accepts none of it."""
    public = issuer.keys["first"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "viewer-1", "exp": int(NOW) + 60}
    signed = f"{_part({'alg': 'HS256', 'kid': 'first'})}.{_part(claims)}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    assert _reason(App(issuer, algorithms=algorithms), f"{signed}.{mac}") == BearerReason.ALGORITHM


def test_another_key_of_the_same_id_is_refused(app: App, issuer: OidcIssuer) -> None:
    with running_issuer() as evil:
        forged = _token(issuer, kid="first", key=evil.keys["first"])
    assert _reason(app, forged) == BearerReason.SIGNATURE


def test_changed_claims_are_refused(app: App, issuer: OidcIssuer) -> None:
    header, _, signature = _token(issuer).split(".")
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "viewer-2", "exp": int(NOW) + 60}
    assert _reason(app, f"{header}.{_part(claims)}.{signature}") == BearerReason.SIGNATURE


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "e30.e30.", f"{_part([])}.{_part({})}.", "a.b"])
def test_what_is_not_a_token_is_malformed(app: App, token: str) -> None:
    assert _reason(app, token) == BearerReason.MALFORMED


def test_encrypted_tokens_are_refused(app: App) -> None:
    assert _reason(app, "a.b.c.d.e") == BearerReason.NESTED


def test_a_token_for_two_callers_is_ambiguous(app: App, issuer: OidcIssuer) -> None:
    (caller,) = app.bearers.values()
    app.bearers[(issuer.url, "second")] = caller._replace(name="second-app")
    assert _reason(app, _token(issuer, aud=[AUDIENCE, "second"])) == BearerReason.AMBIGUOUS_AUDIENCE


@pytest.mark.parametrize(
    ("value", "channels"), [(CHANNEL, {CHANNEL}), ([CHANNEL], {CHANNEL}), ([], set()), (None, None), ([7], None)]
)
def test_a_claim_may_list_the_viewers_channels(issuer: OidcIssuer, value: object, channels: set[str] | None) -> None:
    app = App(issuer, channels_claim="channels")
    if channels is None:
        assert _reason(app, _token(issuer, channels=value)) == BearerReason.CHANNELS
    else:
        assert app.login(_token(issuer, channels=value)).channel_arns == frozenset(channels)


@pytest.mark.parametrize(
    ("value", "accepted"), [("pro", True), ("free", False), (None, False), (1, True), (True, False), (["pro"], False)]
)
def test_a_claim_must_have_one_of_the_required_values(issuer: OidcIssuer, value: object, accepted: bool) -> None:
    app = App(issuer, required_claims=(("plan", ("pro", 1)),))
    if accepted:
        assert app.login(_token(issuer, plan=value))
    else:
        assert _reason(app, _token(issuer, plan=value)) == BearerReason.REQUIRED_CLAIM


def test_a_verified_token_is_remembered_for_five_minutes(app: App, issuer: OidcIssuer) -> None:
    token = _token(issuer, exp=int(NOW) + 3600)
    assert app.cached(token) is None
    app.login(token)
    app.monotonic += CACHE_SECONDS
    remembered = app.cached(token)
    assert remembered is not None
    assert remembered.login == ViewerLogin("viewer-1")
    app.monotonic += 1
    assert app.cached(token) is None


def test_a_remembered_token_expires(app: App, issuer: OidcIssuer) -> None:
    token = _token(issuer)
    app.login(token)
    with pytest.raises(Unauthenticated) as raised:
        app.cached(token, NOW + 60 + 30)
    assert raised.value.reason == BearerReason.EXPIRED


def test_a_remembered_token_of_a_disabled_caller_is_refused(app: App, issuer: OidcIssuer) -> None:
    token = _token(issuer)
    app.login(token)
    app.bearers.clear()
    with pytest.raises(Unauthenticated):
        app.cached(token)


def test_a_remembered_token_is_judged_by_the_present_policy(app: App, issuer: OidcIssuer) -> None:
    token = _token(issuer)
    app.login(token)
    for policy in ({"algorithms": ("ES256",)}, {"required_claims": (("plan", ("pro",)),)}, {"viewer_claim": "email"}):
        app.use(**policy)
        with contextlib.suppress(Unauthenticated):  # or it is verified again, with the same result
            assert app.cached(token) is None
        with pytest.raises(Unauthenticated):
            app.login(token)


def test_of_a_remembered_token_only_the_claims_that_its_policy_names_are_kept(issuer: OidcIssuer) -> None:
    """It may have hundreds of groups, and 20,000 tokens are remembered."""
    app = App(issuer, channels_claim="channels", required_claims=(("plan", ("pro",)),))
    token = _token(issuer, channels=["arn"], plan="pro", email="ada@example.com", groups=["g"] * 300)
    login = app.login(token)
    [kept] = [verified.claims for verified in app.verifier._verified._younger.values()]
    assert set(kept) <= {"exp", "nbf", "iat", "sub", "channels", "plan"}
    cached = app.cached(token)
    assert cached is not None
    assert cached.login == login
    app.use(viewer_claim="email")
    assert app.cached(token) is None
    assert app.login(token).subject == "ada@example.com"


def test_a_token_is_forgotten_when_its_key_leaves_the_set() -> None:
    with running_issuer() as issuer:
        app = App(issuer)
        token = _token(issuer, exp=int(NOW) + 3600)
        app.monotonic += TTL_SECONDS - 100
        app.login(issuer.token(exp=int(NOW) + 3600))
        app.login(token)
        assert app.cached(token) is not None
        issuer.rotate("second")
        app.monotonic += TTL_SECONDS + 1
        app.verifier.verify(token, app.bearers, NOW, app.monotonic)
        assert app.cached(token) is not None, "the set is old, and no newer one is known"
        assert _reason(app, token) == BearerReason.UNKNOWN_KEY
        assert app.cached(token) is None


def test_pyjwt_judges_good_tokens_alike(app: App, issuer: OidcIssuer) -> None:
    token = _token(issuer)
    options: Any = {"verify_exp": False}
    claims = jwt.decode(token, issuer.keys["first"].public_key(), ["RS256"], options, audience=AUDIENCE)
    assert app.login(token).subject == claims["sub"]
