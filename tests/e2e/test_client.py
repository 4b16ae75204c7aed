"""The Python client with a real service: every method of it, sync and async."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from tests.support.client_calls import KINDS, ClientCalls, Kind
from tests.support.demo import Demo
from tests.support.deployment import Deployment, Service
from tests.support.processes import wait_until
from tokensvc.client import (
    AcceptedRevocation,
    AdInsertion,
    DenialRequest,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PlaybackToken,
    ProblemCode,
    RevocationRequest,
    TokenRequest,
    UnauthenticatedError,
)


@pytest.fixture(scope="module")
def caller(service: Service, deployment: Deployment) -> str:
    """The API key of a caller that may do all that the client offers, which the service has loaded."""
    scopes = ("tokens:issue", "tokens:explain", "revocations:read", "revocations:write", "keys:read")
    return deployment.add_caller_and_wait(service, "/v1/keys", *scopes)


class _Client(NamedTuple):
    """Calls to one service."""

    kind: Kind
    url: str
    api_key: str

    def call(self, method: str, *arguments: object, **named: object) -> Any:
        return ClientCalls(self.kind, self.api_key).call(self.url, method, *arguments, **named)  # type: ignore[arg-type]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, service: Service, caller: str) -> _Client:
    return _Client(request.param, service.url, caller)


@pytest.fixture
def viewer() -> str:
    """A viewer that no other test knows."""
    return f"viewer-{uuid4().hex[:12]}-é"


def test_a_token_has_its_url_and_can_start_playback(client: _Client, channel: Any, viewer: str) -> None:
    token = client.call("issue_token", TokenRequest(channel["arn"], viewer_id=viewer, ttl_seconds=60))
    assert token.viewer_id == viewer
    assert token.token in token.playback_url
    assert abs((token.server_time - datetime.now(UTC)).total_seconds()) < 5
    assert 0 < (token.refresh_after - token.server_time).total_seconds() <= 49
    explanation = client.call(
        "explain_token", token.playback_url, origin="https://app.example.com", at=datetime.now(UTC)
    )
    assert explanation.outcome == "allow"
    assert explanation.signed_by


def test_every_field_of_a_token_request_is_accepted(client: _Client, channel: Any) -> None:
    request = TokenRequest(
        channel["arn"],
        subject="Zoë <zoe@example.com>",
        ttl_seconds=60,
        allowed_origins=["https://*.example.com"],
        strict_origin_enforcement=True,
        single_use=True,
        maximum_resolution="HD",
        ads=AdInsertion(opt_out=False, player_params={"a": "b"}, playback_config_name="x", reporting_mode="CLIENT"),
        require_playback_url=True,
    )
    token = client.call("issue_token", request)
    assert token.requires_origin_header
    assert len(token.viewer_id) == 40, "a keyed hash of the subject"


def test_a_batch_larger_than_the_api_accepts_has_a_result_for_each_request(client: _Client, channel: Any) -> None:
    requests = [TokenRequest(channel["arn"], viewer_id=f"v{n}") for n in range(501)]
    results = client.call("issue_tokens", [*requests, TokenRequest("no channel")])
    assert [each.viewer_id for each in results[:501]] == [each.viewer_id for each in requests]
    assert isinstance(results[501], InvalidRequestError)
    assert [each.field for each in results[501].errors] == ["channelArn"]


def test_a_revoked_viewer_gets_no_token_and_the_revocation_can_be_followed(
    client: _Client, channel: Any, viewer: str
) -> None:
    request = RevocationRequest(channel_arn=channel["arn"], viewer_id=viewer, reason="shares its token")
    accepted = client.call("revoke_viewer", request, idempotency_key=viewer[:19])
    assert isinstance(accepted, AcceptedRevocation)
    assert client.call("revoke_viewer", request, idempotency_key=viewer[:19]) == accepted
    shown = client.call("get_revocation", accepted.id)
    assert (shown.reason, shown.targets[0].viewer_id, shown.readmit_after) == (
        "shares its token",
        viewer,
        accepted.readmit_after,
    )
    listed = client.call("list_revocations", channel_arn=channel["arn"], viewer_id=viewer)
    assert [each.id for each in listed] == [accepted.id]
    assert client.call("retry_revocation", accepted.id).id == accepted.id
    assert client.call("cancel_revocation", accepted.id).id == accepted.id
    wait_until(lambda: _is_denied(client, TokenRequest(channel["arn"], viewer_id=viewer)), "the viewer is denied")


def _is_denied(client: _Client, request: TokenRequest) -> bool:
    try:
        client.call("issue_token", request)
    except PermissionDeniedError as error:
        return error.code is ProblemCode.VIEWER_DENIED
    return False


def test_many_viewers_are_revoked_at_once(client: _Client, channel: Any, viewer: str) -> None:
    requests = [RevocationRequest(channel_arn=channel["arn"], viewer_id=f"{viewer}{n}") for n in range(3)]
    *accepted, rejected = client.call("revoke_viewers", [*requests, RevocationRequest(channel_arn=channel["arn"])])
    assert all(isinstance(each, AcceptedRevocation) for each in accepted)
    assert isinstance(rejected, InvalidRequestError)
    assert client.call("revoke_viewers", []) == []


def test_a_denied_viewer_gets_tokens_again_when_the_denial_is_removed(
    client: _Client, channel: Any, viewer: str
) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    [denial] = client.call("deny_viewer", DenialRequest(channel_arn=channel["arn"], viewer_id=viewer, until=until))
    assert denial.until == until
    request = TokenRequest(channel["arn"], viewer_id=viewer)
    wait_until(lambda: _is_denied(client, request), "the viewer is denied")
    assert client.call("list_denials", channel_arn=channel["arn"], viewer_id=viewer) == [denial]
    client.call("remove_denial", denial.id)
    wait_until(lambda: not _is_denied(client, request), "the viewer gets tokens again")
    with pytest.raises(NotFoundError) as raised:
        client.call("remove_denial", denial.id)
    assert raised.value.code is ProblemCode.DENIAL_NOT_FOUND


def test_lists_of_more_than_one_page_are_read_to_their_end(client: _Client, channel: Any, viewer: str) -> None:
    arn = channel["arn"]
    client.call(
        "revoke_viewers", [RevocationRequest(channel_arn=arn, viewer_id=viewer, reason=str(n)) for n in range(120)]
    )
    assert len(client.call("list_revocations", viewer_id=viewer)) == 120


def test_keys_are_listed_and_shown_with_their_history(client: _Client) -> None:
    key, *_ = client.call("list_keys")
    assert key.placements[0].region
    shown = client.call("get_key", key.id)
    assert shown.fingerprint == key.fingerprint
    assert shown.history[-1].step in ("generate", "import")
    with pytest.raises(NotFoundError):
        client.call("get_key", "k0")


def test_an_invalid_request_names_every_field(client: _Client, channel: Any) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        client.call("issue_token", TokenRequest(channel["arn"], viewer_id="", ttl_seconds=-1))
    assert {each.field for each in raised.value.errors} == {"viewerId", "ttlSeconds"}
    assert raised.value.request_id


def test_a_wrong_api_key_is_unauthenticated(service: Service, client: _Client) -> None:
    with pytest.raises(UnauthenticatedError) as raised:
        _Client(client.kind, service.url, "tsk_0_0").call("list_keys")
    assert raised.value.attempts == 1


@pytest.mark.parametrize("kind", KINDS)
def test_playback_starts_with_the_url_of_a_token(kind: Kind, demo: Demo) -> None:
    token = _Client(kind, demo.info["url"], demo.info["apiKey"]).call(
        "issue_token", TokenRequest(demo.info["channelArn"], viewer_id="ada")
    )
    assert isinstance(token, PlaybackToken)
    assert httpx.get(str(token.playback_url), trust_env=False).status_code == 200
