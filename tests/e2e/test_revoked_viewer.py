"""A revoked viewer: its token is denied, it gets no other, and it may return when `readmitAfter` says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from tests.support.deployment import Deployment, LocalIvs
from tests.support.http_client import Client, Response, fetch
from tests.support.processes import wait_until

pytestmark = pytest.mark.long

IN_SYNC_WITHIN_SECONDS = 6.0
SENT_WITHIN_SECONDS = 10.0


class Backend(NamedTuple):
    """A backend of a deployment with a maximum staleness of nine seconds."""

    client: Client
    channel_arn: str

    def request_token(self, viewer: str) -> Response:
        return self.client.request_token(channelArn=self.channel_arn, viewerId=viewer)

    def request_until(self, viewer: str, status: int, within_seconds: float) -> Any:
        """Request tokens until a response has that status; return it."""

        def response_with_status() -> Any:
            response = self.request_token(viewer)
            return response.json if response.status == status else None

        return wait_until(response_with_status, f"a response has status {status}", within_seconds)

    def revoke(self, viewer: str, **fields: object) -> Any:
        body = {"channelArn": self.channel_arn, "viewerId": viewer, **fields}
        response = self.client.request("POST", "/v1/revocations", json.dumps(body))
        assert response.status == 202, response.body
        return response.json

    def state(self, revocation_id: str) -> str:
        return str(self.client.get(f"/v1/revocations/{revocation_id}").json["state"])


@pytest.fixture(scope="module")
def backend(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    deployment = Deployment(ivs, tmp_path_factory.mktemp("revoked"))
    scopes = ("tokens:issue", "revocations:read", "revocations:write")
    key = deployment.set_up("--all-channels", *(word for scope in scopes for word in ("--scope", scope)))
    channel = deployment.new_channel()
    with (
        deployment.serve(SNAPSHOT_LEASE_SECONDS="3", STORE_TIMEOUT_SECONDS="1") as service,
        service.client(key) as client,
    ):
        yield Backend(client, channel["arn"])


def test_a_revoked_viewer_is_denied_until_readmit_after(backend: Backend) -> None:
    before, others = backend.request_token("ada").json, backend.request_token("eve").json
    assert fetch(before["playbackUrl"]).status == 200
    revocation = backend.revoke("ada")

    denied = backend.request_until("ada", 403, IN_SYNC_WITHIN_SECONDS)
    assert denied["code"] == "viewer_denied"
    wait_until(lambda: backend.state(revocation["id"]) == "sent", "the revocation is sent", SENT_WITHIN_SECONDS)
    start = fetch(before["playbackUrl"])
    assert (start.status, start.json[0]["error"]) == (403, "viewer session is revoked")
    assert fetch(others["playbackUrl"]).status == 200, "another viewer is denied"

    readmit_after = datetime.fromisoformat(revocation["readmitAfter"]).timestamp()
    again = backend.request_until("ada", 201, readmit_after - time.time() + IN_SYNC_WITHIN_SECONDS)
    assert time.time() >= readmit_after - 1
    assert again["viewerSessionVersion"] > before["viewerSessionVersion"]
    assert fetch(again["playbackUrl"]).status == 200
    assert fetch(before["playbackUrl"]).status == 403, "a revoked token plays again"


def test_a_viewer_readmitted_early_gets_a_token_that_the_revocation_does_not_end(backend: Backend) -> None:
    before = backend.request_token("bob").json
    revocation = backend.revoke("bob", denySeconds=60)
    backend.request_until("bob", 403, IN_SYNC_WITHIN_SECONDS)  # a stale worker would issue a token that is revoked too
    wait_until(lambda: backend.state(revocation["id"]) == "sent", "the revocation is sent", SENT_WITHIN_SECONDS)
    query = f"/v1/denials?channelArn={backend.channel_arn}&viewerId=bob"
    (denial,) = backend.client.get(query).json["denials"]
    assert backend.client.request("DELETE", f"/v1/denials/{denial['id']}").status == 204
    again = backend.request_until("bob", 201, IN_SYNC_WITHIN_SECONDS)
    assert fetch(again["playbackUrl"]).status == 200
    assert fetch(before["playbackUrl"]).status == 403

    backend.revoke("bob")
    wait_until(
        lambda: fetch(again["playbackUrl"]).status == 403, "the second revocation takes effect", SENT_WITHIN_SECONDS
    )
