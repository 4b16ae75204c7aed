"""A playback restriction policy binds a public channel: IVS user guide, "Undesired Content and Viewers"."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.local_ivs.edge.conftest import Stage
from tokensvc.aws.arn import Arn

ORIGIN = "https://shop.example.com"


def restrict(stage: Stage, channel: Arn, **policy: Any) -> str:
    """Attach a policy to a channel, live as it is."""
    arn = str(stage.call("CreatePlaybackRestrictionPolicy", **policy)["playbackRestrictionPolicy"]["arn"])
    with stage.resources.begin(write=True) as transaction:
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
def test_origins_bind_browsers_and_strictly_everyone(
    stage: Stage, allowed: list[str], strict: bool, origin: str, status: int, readable_by: str | None
) -> None:
    restrict(stage, stage.public, allowedOrigins=allowed, enableStrictOriginEnforcement=strict)
    answer = stage.visit(channel=stage.public, origin=origin)
    assert answer.status == status
    assert dict(answer.headers).get("access-control-allow-origin") == readable_by
    if status == 403:
        assert json.loads(answer.body)[0]["error"] == ("origin is not allowed" if origin else "origin required")


def test_a_private_channel_ignores_its_policy(stage: Stage) -> None:
    """User guide: with playback authorization on, an attached policy is ignored."""
    restrict(stage, stage.private, allowedOrigins=[ORIGIN], enableStrictOriginEnforcement=True)
    assert stage.visit(f"token={stage.token()}").status == 200


def test_where_a_viewer_is_cannot_be_told_so_content_is_served(stage: Stage) -> None:
    restrict(stage, stage.public, allowedCountries=["JP"])
    assert stage.visit(channel=stage.public).status == 200
