"""A revoked viewer session cannot start playback: IVS user guide, "Start a Viewer Session Revocation"."""

from __future__ import annotations

import json

import pytest

from tests.local_ivs.edge.conftest import EdgeFixture
from tests.local_ivs.environment import start_stream
from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs.edge.responses import PlaybackResponse

VIEWER = "viewer-17"


def is_revoked(response: PlaybackResponse) -> bool:
    if response.status == 200:
        return False
    assert response.status == 403
    assert json.loads(response.body)[0]["error"] == "viewer session is revoked"
    return True


def revoke(edge: EdgeFixture, version: int, viewer: str = VIEWER) -> None:
    request = {
        "channelArn": str(edge.private_channel),
        "viewerId": viewer,
        "viewerSessionVersionsLessThanOrEqualTo": version,
    }
    edge.call("StartViewerSessionRevocation", **request)


@pytest.mark.parametrize(("version", "rejected"), [(None, True), (0, True), (5, True), (6, False)])
def test_versions_up_to_the_revoked_one_are_rejected(edge: EdgeFixture, version: int | None, rejected: bool) -> None:
    claims = {} if version is None else {"viewer_session_version": version}
    token = edge.token(viewer_id=VIEWER, **claims)
    assert not is_revoked(edge.get_playlist(f"token={token}"))
    revoke(edge, 5)
    assert is_revoked(edge.get_playlist(f"token={token}")) is rejected
    assert VIEWER.encode() not in edge.get_playlist(f"token={token}").body


def test_the_default_revokes_only_sessions_without_a_version(edge: EdgeFixture) -> None:
    edge.call("StartViewerSessionRevocation", channelArn=str(edge.private_channel), viewerId=VIEWER)
    assert is_revoked(edge.get_playlist(f"token={edge.token(viewer_id=VIEWER)}"))
    assert not is_revoked(edge.get_playlist(f"token={edge.token(viewer_id=VIEWER, viewer_session_version=1)}"))


def test_other_viewers_and_channels_are_not_affected(edge: EdgeFixture) -> None:
    revoke(edge, 5)
    assert not is_revoked(edge.get_playlist(f"token={edge.token(viewer_id='viewer-18')}"))
    assert not is_revoked(edge.get_playlist(f"token={edge.token()}"))
    other = parse_arn(edge.call("CreateChannel", authorized=True)["channel"]["arn"])
    start_stream(edge.resources, other)
    assert not is_revoked(edge.get_playlist(f"token={edge.token(channel_arn=str(other), viewer_id=VIEWER)}", other))


def test_a_revoked_session_does_not_spend_a_single_use(edge: EdgeFixture) -> None:
    uuid = "123e4567-e89b-42d3-a456-426614174000"
    revoke(edge, 5)
    old, new = (edge.token(viewer_id=VIEWER, viewer_session_version=v, single_use_uuid=uuid) for v in (5, 6))
    assert is_revoked(edge.get_playlist(f"token={old}"))
    assert not is_revoked(edge.get_playlist(f"token={new}"))


def test_a_forged_token_is_rejected_by_its_signature(edge: EdgeFixture) -> None:
    revoke(edge, 5)
    response = edge.get_playlist(f"token={edge.token(2, viewer_id=VIEWER)}")
    assert json.loads(response.body)[0]["error"] == "signature is invalid"


@pytest.mark.parametrize("viewer", ["", "v" * 41, 7])
def test_an_invalid_viewer_id_is_rejected(edge: EdgeFixture, viewer: object) -> None:
    assert edge.get_playlist(f"token={edge.token(viewer_id=viewer)}").status == 403
