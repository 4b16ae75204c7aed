"""Revoking a viewer, as a backend does it over HTTP and an operator at the command line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.deployment import Deployment, Service
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def moderator(service: Service, deployment: Deployment) -> str:
    """The API key of a caller that may revoke and deny, which the service has loaded."""
    return deployment.add_caller_and_wait(service, "/v1/denials", "revocations:read", "revocations:write")


def test_commands_and_requests_see_the_same(
    deployment: Deployment, service: Service, moderator: str, channel: Any
) -> None:
    added = deployment.run("revocations", "add", "--channel", channel["arn"], "--viewer", "by-command", "--json").json
    with service.client(moderator) as client:
        shown = client.get(f"/v1/revocations/{added['id']}").json
        assert shown["caller"] == "the command line"
        assert deployment.run("revocations", "show", added["id"], "--json").json.keys() == shown.keys()
        wait_until(lambda: client.get("/v1/denials").json["denials"], "the denial is in force")
