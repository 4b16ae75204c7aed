"""A revoked viewer session starts no playback: IVS user guide, "Start a Viewer Session Revocation"."""

from __future__ import annotations

import json

import pytest

from tests.local_ivs.edge.conftest import Stage
from tests.local_ivs.environment import start_stream
from tokensvc.aws.arn import parse_arn
from tokensvc.local_ivs.edge.playback import PlaybackResponse

VIEWER = "viewer-17"


def is_revoked(answer: PlaybackResponse) -> bool:
    if answer.status == 200:
        return False
    assert answer.status == 403
    assert json.loads(answer.body)[0]["error"] == "viewer session is revoked"
    return True


def revoke(stage: Stage, version: int, viewer: str = VIEWER) -> None:
    request = {"channelArn": str(stage.private), "viewerId": viewer, "viewerSessionVersionsLessThanOrEqualTo": version}
    stage.call("StartViewerSessionRevocation", **request)


@pytest.mark.parametrize(("version", "refused"), [(None, True), (0, True), (5, True), (6, False)])
def test_versions_up_to_the_revoked_one_are_refused(stage: Stage, version: int | None, refused: bool) -> None:
    claims = {} if version is None else {"viewer_session_version": version}
    token = stage.token(viewer_id=VIEWER, **claims)
    assert not is_revoked(stage.visit(f"token={token}"))
    revoke(stage, 5)
    assert is_revoked(stage.visit(f"token={token}")) is refused
    assert VIEWER.encode() not in stage.visit(f"token={token}").body


def test_the_default_spares_whoever_has_a_version(stage: Stage) -> None:
    stage.call("StartViewerSessionRevocation", channelArn=str(stage.private), viewerId=VIEWER)
    assert is_revoked(stage.visit(f"token={stage.token(viewer_id=VIEWER)}"))
    assert not is_revoked(stage.visit(f"token={stage.token(viewer_id=VIEWER, viewer_session_version=1)}"))


def test_others_go_on(stage: Stage) -> None:
    revoke(stage, 5)
    assert not is_revoked(stage.visit(f"token={stage.token(viewer_id='viewer-18')}"))
    assert not is_revoked(stage.visit(f"token={stage.token()}"))
    other = parse_arn(stage.call("CreateChannel", authorized=True)["channel"]["arn"])
    start_stream(stage.resources, other)
    assert not is_revoked(stage.visit(f"token={stage.token(channel_arn=str(other), viewer_id=VIEWER)}", other))


def test_a_refused_session_spends_no_single_use(stage: Stage) -> None:
    uuid = "123e4567-e89b-42d3-a456-426614174000"
    revoke(stage, 5)
    old, new = (stage.token(viewer_id=VIEWER, viewer_session_version=v, single_use_uuid=uuid) for v in (5, 6))
    assert is_revoked(stage.visit(f"token={old}"))
    assert not is_revoked(stage.visit(f"token={new}"))


def test_a_forged_token_is_refused_by_its_signature(stage: Stage) -> None:
    revoke(stage, 5)
    answer = stage.visit(f"token={stage.token(2, viewer_id=VIEWER)}")
    assert json.loads(answer.body)[0]["error"] == "signature is invalid"


@pytest.mark.parametrize("viewer", ["", "v" * 41, 7])
def test_a_viewer_that_cannot_be_is_refused_and_harmless(stage: Stage, viewer: object) -> None:
    assert stage.visit(f"token={stage.token(viewer_id=viewer)}").status == 403
