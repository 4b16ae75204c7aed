"""A viewer app's viewers ask with the login tokens of a real issuer, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, Service
from tests.support.oidc_issuer import AUDIENCE, JWKS_PATH, OidcIssuer, in_an_hour, running_issuer
from tests.support.processes import wait_until


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with running_issuer() as running:
        yield running


def test_a_viewer_gets_tokens_for_itself_alone(
    deployment: Deployment, service: Service, channel: Any, issuer: OidcIssuer, tmp_path: Path
) -> None:
    file = tmp_path / "callers.toml"
    file.write_text(
        f'[callers.player]\nchannels = ["{channel["arn"]}"]\n'
        f'bearer = {{ issuer = "{issuer.url}", audience = "{AUDIENCE}" }}\n'
    )
    deployment.run("callers", "apply", str(file))
    login = issuer.token(exp=in_an_hour())
    with service.client(login) as client:
        wait_until(lambda: client.request_token(channelArn=channel["arn"]).status == 201, "the caller is known")
        response = client.request_token(channelArn=channel["arn"])
        foreign = client.request_token(channelArn=channel["arn"], subject="viewer-2")
        status = client.get("/v1/status")
    claims = json.loads(base64.urlsafe_b64decode(response.json["token"].split(".")[1] + "=="))
    assert claims["aws:channel-arn"] == channel["arn"]
    assert claims["aws:viewer-id"] != "viewer-1", "derived from the viewer, and not reversible"
    assert (foreign.status, foreign.json["code"]) == (422, "invalid_request")
    assert [error["field"] for error in foreign.json["errors"]] == ["subject"]
    assert (status.status, status.json["code"]) == (403, "insufficient_scope")
    assert issuer.requests.count(JWKS_PATH) == 1

    deployment.run("callers", "disable", "player", "--yes")
    with service.client(login) as client:
        wait_until(lambda: client.request_token(channelArn=channel["arn"]).status == 401, "it is disabled")
