"""`authorize`: what policy allows a caller for one request."""

from __future__ import annotations

import pytest

from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import AnonymousViewerNotAllowed, ChannelNotAllowed
from tokensvc.tokens.authorization import TokenLimits, authorize
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot

ARN = "arn:aws:ivs:us-east-1:123456789012:channel/abc"
POLICY = CallerPolicy(channels=("*",))
SNAPSHOT = Snapshot(max_ttl_seconds=3600)


def authorized(policy: CallerPolicy, snapshot: Snapshot = SNAPSHOT, **fields: object) -> TokenLimits:
    return authorize(Caller("shop", policy), parse_token_request({"channelArn": ARN} | fields), snapshot)


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
