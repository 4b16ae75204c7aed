"""Issued tokens pass the playback rules, verify with other libraries, and respect every limit."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given, settings

from tests.support.token_requests import origin_for, token_requests
from tests.support.tokens import CHANNEL, NOW, OTHER_CHANNEL, Prepared, snapshot_of
from tokensvc.callers.api_keys import KnownSecret
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import InvalidRequest, NoSigningKey, SubjectKeyLost
from tokensvc.jose import keypair
from tokensvc.jose.keypair import public_pem
from tokensvc.jose.signing.aws_lc import AwsLcKey
from tokensvc.jose.signing.openssl import OpenSslKey
from tokensvc.tokens import claims as c
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.issuer import UnsignedToken, prepare
from tokensvc.tokens.keyring import EMPTY_KEYRING, Keyring, SigningKey
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.validation import NOTHING_REVOKED, Outcome, PlaybackAttempt, validate
from tokensvc.tokens.viewer_ids import viewer_id

KEY = keypair.generate()
SNAPSHOT = snapshot_of(KEY)
LIMITS = TokenLimits(max_ttl_seconds=86_400, namespace="default")
UUID = uuid.UUID("123e4567-e89b-12d3-a456-426614174000")


def issued(limits: TokenLimits = LIMITS, snapshot: Snapshot = SNAPSHOT, now: int = NOW, **fields: Any) -> UnsignedToken:
    return prepare(parse_token_request({"channelArn": str(CHANNEL)} | fields), limits, snapshot, now, lambda: UUID)


def claims_of(token: UnsignedToken) -> dict[str, Any]:
    """The claims as PyJWT decodes them."""
    key, options = public_pem(KEY.public_key()), {"verify_exp": False}
    claims: dict[str, Any] = jwt.decode(token.signed(), key, algorithms=["ES384"], options=options)  # type: ignore[arg-type]
    return claims


@pytest.mark.slow
@settings(max_examples=250)
@given(token_requests())
@example({"channelArn": str(CHANNEL), "ads": {"playerParams": {}}})
@example({"channelArn": str(CHANNEL), "viewerId": "\u2028" * 40, "ttlSeconds": 600})
def test_every_issued_token_passes_the_playback_rules(fields: dict[str, Any]) -> None:
    """The central promise: a valid request gives a token that every playback rule allows."""
    try:
        token = issued(**fields)
    except InvalidRequest as raised:
        too_large = raised
    else:
        keys, origin = [KEY.public_key()], origin_for(fields)
        attempt = PlaybackAttempt(
            token.signed(), NOW, CHANNEL, keys, origin, spent=False, revoked_version=NOTHING_REVOKED
        )
        result = validate(attempt)
        assert (result.outcome, result.message) == (Outcome.ALLOW, "playback is allowed")
        assert validate(attempt._replace(now=token.exp - 1)).outcome is Outcome.ALLOW
        assert validate(attempt._replace(now=token.exp)).denied_by == "expiry"
        assert validate(attempt._replace(channel=OTHER_CHANNEL)).denied_by == "channel"
        return
    assert "makes a token of" in too_large.message


@pytest.mark.slow
@given(token_requests())
def test_the_claims_are_exactly_what_was_requested(fields: dict[str, Any]) -> None:
    token = issued(**fields)
    ads = fields.get("ads", {})
    viewer = fields.get("viewerId")
    if "subject" in fields:
        viewer = viewer_id(SNAPSHOT.subject_key, "default", fields["subject"])
    expected = {
        c.CHANNEL_ARN: str(CHANNEL),
        c.EXP: token.exp,
        c.VIEWER_ID: viewer,
        c.VIEWER_SESSION_VERSION: viewer and NOW,
        c.ALLOW_ORIGIN: ",".join(fields["allowedOrigins"]) if "allowedOrigins" in fields else None,
        c.STRICT_ORIGIN: fields.get("strictOriginEnforcement") or None,
        c.SINGLE_USE_UUID: str(UUID) if fields.get("singleUse") else None,
        c.MAXIMUM_RESOLUTION: fields.get("maximumResolution"),
        c.ADS_OPT_OUT: ads.get("optOut"),
        c.ADS_PLAYER_PARAMS: ads.get("playerParams"),
        c.ADS_PLAYBACK_CONFIG_NAME: ads.get("playbackConfigName"),
        c.ADS_REPORTING_MODE: ads.get("reportingMode"),
    }
    assert claims_of(token) == {name: value for name, value in expected.items() if value is not None}
    assert (token.viewer_id, token.viewer_session_version) == (viewer, viewer and NOW)
    assert token.requires_origin_header is bool(fields.get("strictOriginEnforcement"))


@pytest.mark.slow
@pytest.mark.parametrize("make", [AwsLcKey, OpenSslKey])
def test_pyjwt_verifies_the_signatures_of_both_signers(make: type[AwsLcKey] | type[OpenSslKey]) -> None:
    """300 times, so that signatures with leading zeros occur."""
    prepared = make(KEY)
    keys = SNAPSHOT.keyring.region_keys[CHANNEL.account_region]._replace(active=SigningKey("k1", prepared, 600))
    snapshot = SNAPSHOT._replace(keyring=SNAPSHOT.keyring._replace(region_keys={CHANNEL.account_region: keys}))
    for _ in range(300):
        token = issued(snapshot=snapshot)
        assert claims_of(token)[c.CHANNEL_ARN] == str(CHANNEL)
    assert jwt.get_unverified_header(token.signed()) == {"alg": "ES384", "typ": "JWT"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_the_raw_signature(tmp_path: Path) -> None:
    signed, _, signature = issued(viewerId="v").signed().rpartition(".")
    raw = base64.urlsafe_b64decode(signature)
    assert len(raw) == 96
    (tmp_path / "key.pem").write_text(public_pem(KEY.public_key()))
    der = encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    (tmp_path / "signature.der").write_bytes(der)
    command = ["openssl", "dgst", "-sha384", "-verify", "key.pem", "-signature", "signature.der"]
    good = subprocess.run(command, input=signed.encode(), cwd=tmp_path, capture_output=True, check=False)
    assert good.stdout == b"Verified OK\n"
    bad = subprocess.run(command, input=signed.encode() + b"x", cwd=tmp_path, capture_output=True, check=False)
    assert bad.returncode != 0


@pytest.mark.parametrize("extra_fields", [{"viewerId": "v"}, {"subject": "s"}, {"singleUse": True}])
@pytest.mark.parametrize(("requested", "ttl"), [(None, 300), (1, 1), (589, 589), (590, 590), (591, 590), (600, 590)])
def test_where_the_ten_minute_limit_applies_exp_is_at_most_590_seconds_ahead(
    extra_fields: dict[str, Any], requested: int | None, ttl: int
) -> None:
    fields = extra_fields if requested is None else extra_fields | {"ttlSeconds": requested}
    assert issued(**fields).exp == NOW + ttl == claims_of(issued(**fields))["exp"]


def test_the_exp_allowance_tolerates_a_clock_ten_seconds_ahead() -> None:
    token = issued(viewerId="v", ttlSeconds=600, now=NOW + 10)
    attempt = PlaybackAttempt(token.signed(), NOW, CHANNEL, [KEY.public_key()], revoked_version=NOTHING_REVOKED)
    assert validate(attempt).outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    ("limit", "longest", "requested", "ttl"),
    [(86_400, 86_400, None, 300), (120, 86_400, None, 120), (86_400, 120, None, 120), (86_400, 86_400, 86_400, 86_400),
     (600, 600, 600, 600), (1, 600, None, 1)],
)  # fmt: skip
def test_the_default_ttl_is_the_smaller_of_300_and_the_limit(
    limit: int, longest: int, requested: int | None, ttl: int
) -> None:
    fields = {} if requested is None else {"ttlSeconds": requested}
    snapshot = snapshot_of(KEY, longest_ttl_seconds=longest)
    assert issued(TokenLimits(limit, "default"), snapshot, **fields).exp == NOW + ttl


@pytest.mark.parametrize(("limit", "longest"), [(120, 86_400), (86_400, 120)])
@pytest.mark.parametrize("extra_fields", [{}, {"viewerId": "v"}])
def test_a_ttl_above_the_limit_is_rejected_and_not_clamped(
    limit: int, longest: int, extra_fields: dict[str, Any]
) -> None:
    snapshot = snapshot_of(KEY, longest_ttl_seconds=longest)
    with pytest.raises(InvalidRequest) as raised:
        issued(TokenLimits(limit, "default"), snapshot, ttlSeconds=121, **extra_fields)
    [error] = raised.value.errors
    assert error.field == "ttlSeconds"
    assert error.message == "exceeds this caller's limit of 120 s"
    assert issued(TokenLimits(limit, "default"), snapshot, ttlSeconds=120, **extra_fields).exp == NOW + 120


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"allowedOrigins": [f"https://{n:040}.example" for n in range(40)]}, ["allowedOrigins"]),
        ({"ads": {"playbackConfigName": "x" * 2000}}, ["ads"]),
        ({"allowedOrigins": [f"https://{n:040}.example" for n in range(15)], "ads": {"playerParams": {"k": "v" * 900}}},
         ["allowedOrigins", "ads"]),
    ],
)  # fmt: skip
def test_a_token_that_may_be_too_large_for_ivs_is_never_signed(fields: dict[str, Any], named: list[str]) -> None:
    unsignable = SigningKey("k1", Prepared(lambda _: pytest.fail("it was signed")), 600)
    keys = SNAPSHOT.keyring.region_keys[CHANNEL.account_region]._replace(active=unsignable)
    snapshot = SNAPSHOT._replace(keyring=SNAPSHOT.keyring._replace(region_keys={CHANNEL.account_region: keys}))
    with pytest.raises(InvalidRequest, match="at most 2000") as raised:
        issued(snapshot=snapshot, **fields)
    assert [e.field for e in raised.value.errors] == named


def test_tokens_of_at_most_2000_bytes_are_signed() -> None:
    sizes = {}
    for length in range(1200, 1320):
        try:
            sizes[length] = len(issued(ads={"playbackConfigName": "x" * length}).signed())
        except InvalidRequest:
            break
    assert max(sizes.values()) == 2000
    assert length == max(sizes) + 1 < 1319


def test_a_subject_never_appears_in_the_token() -> None:
    token = issued(subject="jane.doe@example.com")
    everything = json.dumps(claims_of(token)) + token.signed() + repr(token)
    assert "jane" not in everything
    assert base64.b64encode(b"jane.doe")[:10].decode() not in everything


def test_a_subject_is_another_viewer_in_another_namespace() -> None:
    ids = {issued(TokenLimits(600, namespace), subject="s").viewer_id for namespace in ("one", "two")}
    assert len(ids) == 2


def test_no_repr_shows_the_token() -> None:
    token = issued(viewerId="somebody")
    assert token.signing_input.decode() not in repr(token) + str(token) + f"{token}"
    assert "somebody" not in repr(token)


def test_refresh_after_is_before_the_token_expires() -> None:
    for seconds in (1, 10, 300, 86_400):
        token = issued(ttlSeconds=seconds)
        assert NOW <= token.refresh_after < token.exp
    assert issued(ttlSeconds=300).refresh_after == NOW + 240


def test_two_single_use_tokens_never_share_a_uuid() -> None:
    request = parse_token_request({"channelArn": str(CHANNEL), "singleUse": True})
    uuids = {claims_of(prepare(request, LIMITS, SNAPSHOT, NOW, uuid.uuid4))[c.SINGLE_USE_UUID] for _ in range(50)}
    assert len(uuids) == 50


def test_without_a_key_no_token_is_issued() -> None:
    with pytest.raises(NoSigningKey):
        issued(snapshot=SNAPSHOT._replace(keyring=EMPTY_KEYRING))


def test_a_key_does_not_sign_after_its_limit() -> None:
    """A retiring key that replaces an active one which this worker cannot decrypt."""
    [(account_region, keys)] = SNAPSHOT.keyring.region_keys.items()
    assert keys.active is not None
    snapshot = SNAPSHOT._replace(
        keyring=Keyring({account_region: keys._replace(active=keys.active._replace(not_after=float(NOW)))})
    )
    assert issued(snapshot=snapshot).signed()
    with pytest.raises(NoSigningKey):
        issued(snapshot=snapshot, now=NOW + 1)


def test_no_repr_of_a_snapshot_shows_a_secret() -> None:
    known = KnownSecret(b"digest of a key", None, Caller("shop", CallerPolicy(("*",))))
    snapshot = SNAPSHOT._replace(secrets={"id": known})
    assert repr(SNAPSHOT.subject_key)[2:20] not in repr(snapshot) + str(snapshot)
    assert "digest" not in repr(snapshot) + repr(known)


def test_without_the_subject_key_only_requests_by_subject_fail() -> None:
    lost = SNAPSHOT._replace(subject_key=b"")
    with pytest.raises(SubjectKeyLost):
        issued(snapshot=lost, subject="ada")
    assert issued(snapshot=lost, viewerId="ada").viewer_id == "ada"
