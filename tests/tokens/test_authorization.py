"""`authorize`: what policy allows a caller for one request."""

from __future__ import annotations

import pytest

from tokensvc.callers.policy import Caller, CallerPolicy, ClaimRules, ViewerLogin
from tokensvc.errors import AnonymousViewerNotAllowed, ChannelNotAllowed, InvalidRequest
from tokensvc.tokens.authorization import TokenLimits, authorize
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"
POLICY = CallerPolicy(channels=("*",))
SNAPSHOT = Snapshot(max_ttl_seconds=3600)


def authorized(policy: CallerPolicy, snapshot: Snapshot = SNAPSHOT, **fields: object) -> TokenLimits:
    return authorize(Caller("shop", policy), parse_token_request({"channelArn": ARN} | fields), snapshot).limits


def test_a_channel_outside_the_callers_patterns_is_refused() -> None:
    policy = CallerPolicy(channels=(ARN + "d",), allow_anonymous_viewers=True)
    with pytest.raises(ChannelNotAllowed):
        authorized(policy)


def test_a_viewer_is_required_unless_policy_allows_anonymous_viewers() -> None:
    with pytest.raises(AnonymousViewerNotAllowed, match="viewerId or subject"):
        authorized(POLICY)
    with pytest.raises(AnonymousViewerNotAllowed):
        authorized(POLICY, singleUse=True)
    assert authorized(POLICY, viewerId="v")
    assert authorized(POLICY, subject="s")
    assert authorized(CallerPolicy(channels=("*",), allow_anonymous_viewers=True))


@pytest.mark.parametrize(("policy", "deployment", "expected"), [(None, 3600, 3600), (60, 3600, 60), (7200, 3600, 3600)])
def test_the_lower_of_the_deployments_and_the_callers_limit_applies(
    policy: int | None, deployment: int, expected: int
) -> None:
    snapshot = SNAPSHOT._replace(max_ttl_seconds=deployment)
    limits = authorized(CallerPolicy(channels=("*",), max_ttl_seconds=policy, namespace="n"), snapshot, viewerId="v")
    assert limits == TokenLimits(expected, "n")


def refused(caller: Caller, **fields: object) -> InvalidRequest:
    """The error for this request; it names fields."""
    with pytest.raises(InvalidRequest) as failed:
        authorize(caller, parse_token_request({"channelArn": ARN} | fields), SNAPSHOT)
    return failed.value


def test_forced_values_replace_what_was_requested() -> None:
    rules = ClaimRules(("https://app.example",), True, True, "HD")
    caller = Caller("shop", CallerPolicy(channels=("*",), forced=rules))
    for fields in ({}, {"allowedOrigins": ["https://other.example"], "maximumResolution": "FULL_HD"}):
        asked = parse_token_request({"channelArn": ARN, "viewerId": "v"} | fields)
        got = authorize(caller, asked, SNAPSHOT).request
        assert got.allowed_origins == ["https://app.example"]
        assert (got.strict_origin_enforcement, got.single_use, got.maximum_resolution) == (True, True, "HD")
        assert (got.viewer_id, got.channel_arn) == ("v", ARN)


def test_all_claims_that_policy_requires_are_named_together() -> None:
    rules = ClaimRules(("https://app.example", "https://*.example"), True, True, "HD")
    caller = Caller("shop", CallerPolicy(channels=("*",), required=rules))
    error = refused(caller, viewerId="v")
    assert error.code == "claim_required"
    assert [e.field for e in error.errors] == [
        "allowedOrigins",
        "strictOriginEnforcement",
        "singleUse",
        "maximumResolution",
    ]
    error = refused(caller, viewerId="v", allowedOrigins=["https://a.example", "*"], maximumResolution="FULL_HD")
    assert [e.field for e in error.errors] == [
        "allowedOrigins[1]",
        "strictOriginEnforcement",
        "singleUse",
        "maximumResolution",
    ]
    assert "https://app.example, https://*.example" in error.errors[0].rule
    fields: dict[str, object] = {"strictOriginEnforcement": True, "singleUse": True, "maximumResolution": "SD"}
    asked = parse_token_request({"channelArn": ARN, "viewerId": "v", "allowedOrigins": ["https://a.example"]} | fields)
    assert authorize(caller, asked, SNAPSHOT).request is asked


def test_a_forced_value_that_contradicts_a_requested_one_is_named() -> None:
    """IVS takes five origins at most with strict enforcement, and ten minutes at most with single use."""
    forced = ClaimRules(strict_origin_enforcement=True, single_use=True)
    caller = Caller("shop", CallerPolicy(channels=("*",), forced=forced, allow_anonymous_viewers=True))
    error = refused(caller, allowedOrigins=[f"https://{n}.example" for n in "abcdef"], ttlSeconds=3600)
    assert error.code == "invalid_request"
    assert [e.field for e in error.errors] == ["ttlSeconds", "allowedOrigins"]


def test_a_viewer_app_gets_tokens_for_the_viewer_of_its_bearer_token_alone() -> None:
    caller = Caller("app", CallerPolicy(channels=("*",)), login=ViewerLogin("alice", frozenset({ARN})))
    for fields in ({}, {"subject": "alice"}):
        asked = parse_token_request({"channelArn": ARN} | fields)
        assert authorize(caller, asked, SNAPSHOT).request.subject == "alice"
    assert [e.field for e in refused(caller, viewerId="alice").errors] == ["viewerId"]
    assert [e.field for e in refused(caller, subject="bob").errors] == ["subject"]
    assert [e.field for e in refused(caller, ttlSeconds=3600).errors] == ["ttlSeconds"], "it is for a viewer"
    with pytest.raises(ChannelNotAllowed):
        authorize(caller, parse_token_request({"channelArn": ARN + "d"}), SNAPSHOT)


def test_without_rules_the_request_is_passed_on_as_it_is() -> None:
    asked = parse_token_request({"channelArn": ARN, "viewerId": "v", "allowedOrigins": ["*"]})
    assert authorize(Caller("shop", POLICY), asked, SNAPSHOT).request is asked
