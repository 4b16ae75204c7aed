"""A playback restriction policy applies to a public channel: IVS user guide, "Undesired Content and Viewers"."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.local_ivs.edge.conftest import EdgeFixture
from tokensvc.aws.arn import Arn

ORIGIN = "https://shop.example.com"


def restrict(edge: EdgeFixture, channel: Arn, **policy: Any) -> str:
    """Attach a policy to a live channel."""
    arn = str(edge.call("CreatePlaybackRestrictionPolicy", **policy)["playbackRestrictionPolicy"]["arn"])
    with edge.resources.begin(write=True) as transaction:
        found = transaction.get(str(channel))
        assert found is not None
        transaction.put(found._replace(body={**found.body, "playbackRestrictionPolicyArn": arn}))
    return arn


@pytest.mark.parametrize(
    ("allowed", "strict", "origin", "status", "readable_by"),
    [
        ([], False, "", 200, "*"),
        ([], False, ORIGIN, 200, "*"),
        ([], True, "", 403, "*"),
        ([], True, ORIGIN, 200, "*"),
        ([ORIGIN], False, ORIGIN, 200, ORIGIN),
        ([ORIGIN], False, "https://a.com", 200, None),
        ([ORIGIN], False, "", 200, None),
        ([ORIGIN], True, ORIGIN, 200, ORIGIN),
        (["https://*.example.com"], True, ORIGIN, 200, ORIGIN),
        ([ORIGIN], True, "https://a.com", 403, "*"),
        ([ORIGIN], True, "", 403, "*"),
        ([], True, "https://evil.com/path", 403, "*"),
        (["https://*.example.com"], True, "https://evil.com/.example.com", 403, "*"),
        (["https://*.example.com"], False, "https://evil.com/.example.com", 200, None),
    ],
)
def test_allowed_origins_restrict_browsers_and_with_strict_enforcement_every_client(
    edge: EdgeFixture, allowed: list[str], strict: bool, origin: str, status: int, readable_by: str | None
) -> None:
    restrict(edge, edge.public_channel, allowedOrigins=allowed, enableStrictOriginEnforcement=strict)
    response = edge.get_playlist(channel=edge.public_channel, origin=origin)
    assert response.status == status
    assert dict(response.headers).get("access-control-allow-origin") == readable_by
    if status == 403:
        assert json.loads(response.body)[0]["error"] == ("origin is not allowed" if origin else "origin required")


def test_a_private_channel_ignores_its_policy(edge: EdgeFixture) -> None:
    """User guide: with playback authorization on, an attached policy is ignored."""
    restrict(edge, edge.private_channel, allowedOrigins=[ORIGIN], enableStrictOriginEnforcement=True)
    assert edge.get_playlist(f"token={edge.token()}").status == 200


def test_content_is_served_when_the_viewers_country_is_unknown(edge: EdgeFixture) -> None:
    restrict(edge, edge.public_channel, allowedCountries=["JP"])
    assert edge.get_playlist(channel=edge.public_channel).status == 200
