"""`POST /v1/tokens/explain`: judged from the snapshot, for the caller's channels alone; private keys are refused."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.asgi_client import AsgiResponse, request, scope_of
from tests.support.captured_log import CapturedLog
from tests.support.clocks import ManualClock
from tests.support.tokens import CHANNEL, NOW, OTHER_CHANNEL, SUBJECT_KEY, snapshot_of, with_claims
from tokensvc.callers.api_keys import KnownSecret, key_digest, key_id_of
from tokensvc.callers.limits import TokenLimiter
from tokensvc.callers.policy import ALL_CHANNELS, Caller, CallerPolicy, Rate, RateLimits, ViewerLogin
from tokensvc.jose.keypair import generate
from tokensvc.timestamps import rfc3339
from tokensvc.tokens import claims as c
from tokensvc.tokens.denylist import Denylist, ViewerRestriction, viewer_digest
from tokensvc.tokens.explain_request import ExplanationView
from tokensvc.tokens.keyring import Keyring, RegionKeys, WithdrawnKey
from tokensvc.tokens.viewer_ids import viewer_id
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.endpoints.explain import REQUEST_MAX_BYTES, ExplainRoute
from tokensvc.web.operations import routes_of
from tokensvc.web.routes import EXPLAIN

KEY = generate()
ANY, OWN, WITHOUT_SCOPE, LIMITED = "tsk_any_secret", "tsk_own_secret", "tsk_none_secret", "tsk_limited_secret"
OF_A_VIEWER = "tsk_viewer_secret"
LOGIN = ViewerLogin("user-1")
OWN_VIEWER_ID = viewer_id(SUBJECT_KEY, "default", LOGIN.subject)
SCOPE = frozenset({"tokens:explain"})
POLICIES = {
    ANY: CallerPolicy((ALL_CHANNELS,), SCOPE),
    OWN: CallerPolicy((str(CHANNEL),), SCOPE),
    WITHOUT_SCOPE: CallerPolicy((ALL_CHANNELS,)),
    LIMITED: CallerPolicy((ALL_CHANNELS,), SCOPE, limits=RateLimits(caller=Rate(per_minute=10, burst=10))),
    OF_A_VIEWER: CallerPolicy((ALL_CHANNELS,), SCOPE, limits=RateLimits(viewer=Rate(per_minute=10, burst=5))),
}
VIEWER: dict[str, Any] = {c.VIEWER_ID: "ada", c.VIEWER_SESSION_VERSION: NOW}
PRIVATE_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class App:
    """A worker's application with this one operation, and its access log."""

    def __init__(self) -> None:
        self.clock, self.log, self.denylist = ManualClock(), CapturedLog(), Denylist()
        self.snapshot = snapshot_of(KEY)._replace(
            denylist=self.denylist,
            secrets={
                key_id_of(key): KnownSecret(
                    key_digest(key), None, Caller(key_id_of(key), policy, login=LOGIN if key == OF_A_VIEWER else None)
                )
                for key, policy in POLICIES.items()
            },
        )
        authenticator = RequestAuthenticator(lambda: self.snapshot, self.clock, lease_seconds=900)
        limiter = TokenLimiter(self.clock.monotonic)
        routes = routes_of([EXPLAIN.bind(ExplainRoute(authenticator, limiter.take_of_caller))])
        log = AccessLog(self.log, self.clock, as_json=True)
        self._app = Application(routes=routes, fallback=_nothing, clock=self.clock, access_log=log)

    def post(self, body: Any, key: str = ANY) -> AsgiResponse:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(request(self._app, scope_of("POST", EXPLAIN.path, authorization=f"Bearer {key}"), content))

    def explained(self, token: str, key: str = ANY, **fields: Any) -> Any:
        response = self.post({"token": token} | fields, key)
        assert response.status == 200, response.body
        assert response.headers["cache-control"] == "no-store"
        ExplanationView.model_validate_json(response.body)
        return response.json

    def restrict(self, viewer: str, restriction: ViewerRestriction, channel: str = str(CHANNEL)) -> None:
        self.denylist.apply([(viewer_digest(channel, viewer), restriction)], self.clock.now())


@pytest.fixture
def app() -> App:
    return App()


async def _nothing(*_: Any) -> None:
    raise AssertionError


def test_an_own_token_is_allowed_and_its_key_named(app: App) -> None:
    result = app.explained(with_claims(KEY, VIEWER), OWN)
    assert (result["outcome"], result["deniedBy"], result["signedBy"]) == ("allow", None, "k1")
    assert {rule["rule"]: rule["message"] for rule in result["rules"]}["signature"] == (
        "signed by key k1 of this deployment, active in us-east-1"
    )


def test_the_token_of_another_issuer_is_explained_as_far_as_it_is_known(app: App) -> None:
    result = app.explained(with_claims(generate(), {c.EXP: NOW * 1000}))
    assert (result["outcome"], result["deniedBy"], result["reason"]) == ("deny", "expiry", "milliseconds")
    assert result["signedBy"] is None
    assert app.explained(with_claims(generate(), {}))["outcome"] == "indeterminate"


def test_a_playback_url_names_the_channel_that_is_played(app: App) -> None:
    token = with_claims(KEY, {})
    url = f"https://x.playback.live-video.net{{}}?player=1&token={token}"
    assert app.explained(url.format(CHANNEL.playback_path))["outcome"] == "allow"
    assert app.explained(url.format(OTHER_CHANNEL.playback_path))["deniedBy"] == "channel"
    assert app.explained(url.format(OTHER_CHANNEL.playback_path), channelArn=str(CHANNEL))["outcome"] == "allow"
    twice = app.post({"token": url.format(CHANNEL.playback_path) + f"&token={token}"})
    assert (twice.status, twice.json["errors"][0]["field"]) == (422, "token")
    assert token not in twice.body.decode()


def test_origin_country_and_time_are_facts_that_a_caller_supplies(app: App) -> None:
    strict = {c.ALLOW_ORIGIN: "https://a.example", c.STRICT_ORIGIN: True}
    token = with_claims(KEY, strict)
    assert app.explained(token)["outcome"] == "indeterminate"
    assert app.explained(token, origin="https://a.example")["outcome"] == "allow"
    assert app.explained(token, origin="")["reason"] == "missing"
    assert app.explained(token, origin="https://a.example", country="DE")["outcome"] == "conditional"
    assert app.explained(token, origin="https://a.example", at=rfc3339(NOW + 300))["deniedBy"] == "expiry"
    app.clock.advance(400)
    assert app.explained(token, origin="https://a.example")["deniedBy"] == "expiry"
    assert app.explained(token, origin="https://a.example", at=rfc3339(NOW))["outcome"] == "allow"


@pytest.mark.parametrize("where", [str(CHANNEL), ALL_CHANNELS])
def test_the_token_of_a_denied_viewer_is_denied_by_the_revocation_rule(app: App, where: str) -> None:
    app.restrict("ada", ViewerRestriction(denied_until=NOW + 60), where)
    result = app.explained(with_claims(KEY, VIEWER))
    assert (result["outcome"], result["deniedBy"], result["reason"]) == ("deny", "revoked", "viewer_denied")
    assert rfc3339(NOW + 60) in result["message"]
    assert app.explained(with_claims(KEY, VIEWER | {c.VIEWER_ID: "bob"}))["outcome"] == "allow"
    assert app.explained(with_claims(KEY, {}))["outcome"] == "allow"


def test_a_viewer_with_a_login_learns_nothing_about_other_viewers(app: App) -> None:
    """Anybody can write a token that claims another viewer's id."""
    for viewer in ("ada", OWN_VIEWER_ID):
        app.restrict(viewer, ViewerRestriction(denied_until=NOW + 60))
    for key in (KEY, generate()):
        result = app.explained(with_claims(key, VIEWER), OF_A_VIEWER)
        assert {rule["rule"]: rule["result"] for rule in result["rules"]}["revoked"] == "unknown"
        assert rfc3339(NOW + 60) not in json.dumps(result)
    own = app.explained(with_claims(KEY, VIEWER | {c.VIEWER_ID: OWN_VIEWER_ID}), OF_A_VIEWER)
    assert (own["deniedBy"], own["reason"]) == ("revoked", "viewer_denied")


def test_an_explanation_counts_against_the_limit_of_the_viewer_whose_login_it_is(app: App) -> None:
    statuses = [app.post({"token": "x"}, OF_A_VIEWER).status for _ in range(6)]
    assert statuses == [200] * 5 + [429]


@pytest.mark.parametrize(
    ("withdrawn", "outcome", "message"),
    [
        (WithdrawnKey(KEY.public_key(), False, False), "deny", "which is no longer in IVS in us-east-1"),
        (WithdrawnKey(KEY.public_key(), True, True), "allow", "compromised in us-east-1"),
    ],
    ids=["retired", "compromised, and IVS still holds it"],
)
def test_the_token_of_a_key_that_was_withdrawn_is_recognized(
    app: App, withdrawn: WithdrawnKey, outcome: str, message: str
) -> None:
    regions = {CHANNEL.account_region: RegionKeys(None, {}, withdrawn_keys={"k0": withdrawn})}
    app.snapshot = app.snapshot._replace(keyring=Keyring(regions))
    result = app.explained(with_claims(KEY, VIEWER))
    assert (result["outcome"], result["signedBy"]) == (outcome, "k0")
    assert message in {rule["rule"]: rule["message"] for rule in result["rules"]}["signature"]


def test_a_revoked_session_version_is_denied_and_a_later_one_is_not(app: App) -> None:
    app.restrict("ada", ViewerRestriction(minimum_version=NOW + 910, minimum_ahead_seconds=910))
    assert app.explained(with_claims(KEY, VIEWER))["deniedBy"] == "revoked"
    later = VIEWER | {c.VIEWER_SESSION_VERSION: NOW + 910}
    app.clock.advance(60)
    assert app.explained(with_claims(KEY, later))["outcome"] == "allow", "issued after the revocation"


def test_a_single_use_token_is_not_spent(app: App) -> None:
    token = with_claims(KEY, {c.SINGLE_USE_UUID: "123e4567-e89b-12d3-a456-426614174000"})
    for _ in range(2):
        result = app.explained(token)
        assert (result["outcome"], result["unless"]) == ("conditional", ["already used"])


def test_another_channel_than_the_caller_s_is_refused_without_details(app: App) -> None:
    own, other = with_claims(KEY, {}), with_claims(KEY, {c.CHANNEL_ARN: str(OTHER_CHANNEL)})
    details = set()
    for body in (
        {"token": other},
        {"token": other, "channelArn": str(CHANNEL)},
        {"token": own, "channelArn": str(OTHER_CHANNEL)},
        {"token": "x", "channelArn": str(OTHER_CHANNEL)},
        {"token": f"https://x.example{OTHER_CHANNEL.playback_path}?token={own}"},
        {"token": f"https://x.example{OTHER_CHANNEL.playback_path}?token={own}", "channelArn": str(CHANNEL)},
        {"token": with_claims(generate(), {c.CHANNEL_ARN: str(OTHER_CHANNEL), c.EXP: 1})},
    ):
        response = app.post(body, OWN)
        assert (response.status, response.json["code"]) == (403, "channel_not_allowed")
        assert "rules" not in response.json
        details.add(response.json["detail"])
    assert len(details) == 1
    assert app.explained("x", OWN)["deniedBy"] == "segments"
    assert app.explained(with_claims(KEY, {c.CHANNEL_ARN: "*"}), OWN)["deniedBy"] == "channel"


def test_the_scope_is_required(app: App) -> None:
    response = app.post({"token": "x"}, WITHOUT_SCOPE)
    assert (response.status, response.json["code"]) == (403, "insufficient_scope")
    assert app.post({"token": "x"}, "tsk_unknown_secret").status == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["token"]),
        ({"token": None}, ["token"]),
        (
            {"token": "x", "channelArn": "x", "country": "x", "at": "x", "more": 1},
            ["channelArn", "country", "at", "more"],
        ),
    ],
)
def test_bad_input_names_each_field(app: App, body: Any, fields: list[str]) -> None:
    response = app.post(body)
    assert response.status == 422
    assert [error["field"] for error in response.json["errors"]] == fields


def test_a_body_of_more_than_16_kib_is_refused(app: App) -> None:
    at_limit = {"token": "x" * (REQUEST_MAX_BYTES - len('{"token": ""}'))}
    assert app.post(at_limit).json["deniedBy"] == "size"
    assert app.post({"token": at_limit["token"] + "x"}).status == 413


def test_an_explanation_counts_as_one_token_of_the_caller_s_limit(app: App) -> None:
    for _ in range(10):
        app.explained("x", LIMITED)
    limited = app.post({"token": "x"}, LIMITED)
    assert (limited.status, limited.json["code"]) == (429, "rate_limited")
    assert int(limited.headers["retry-after"]) >= 1
    assert app.post({"token": "x"}, ANY).status == 200


@pytest.mark.parametrize("field", ["token", "origin", "channelArn", "anything"])
def test_a_private_key_is_neither_explained_nor_repeated_nor_logged(
    app: App, field: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for pasted in (PRIVATE_PEM, json.dumps(PRIVATE_PEM), {"kty": "EC", "d": "c2VjcmV0"}):
        response = app.post({"token": "x"} | {field: pasted})
        assert (response.status, [error["field"] for error in response.json["errors"]]) == (422, [field])
        seen = response.body.decode() + app.log.text + caplog.text + "".join(capsys.readouterr())
        assert "c2VjcmV0" not in seen
        assert not any(line in seen for line in PRIVATE_PEM.splitlines()[1:-1])
    assert app.post(PRIVATE_PEM.encode()).status == 400
    assert EXPLAIN.path in app.log.text
