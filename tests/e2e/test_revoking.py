"""Revoking a viewer, as a backend does it with curl and an operator at the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import tokensvc
from tests.support.deployment import Deployment, Service
from tests.support.processes import run, wait_until

README = (Path(tokensvc.__file__).parent.parent / "README.md").read_text("utf-8")
SECTION = README.partition("### Revoking a viewer\n")[2].partition("\n### ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
CURLS = [line for block in BLOCKS for line in re.split(r"\n(?=curl)", block)]


@pytest.fixture(scope="module")
def moderator(service: Service, deployment: Deployment) -> str:
    """The API key of a caller that may revoke and deny, which the service has loaded."""
    return deployment.add_caller_and_wait(service, "/v1/denials", "revocations:read", "revocations:write")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")
def test_the_readmes_commands_work_as_printed(deployment: Deployment, service: Service, moderator: str) -> None:
    channel = deployment.new_channel(name="revoking")["arn"]
    environ = deployment.environ | {"TOKENS": service.url, "KEY": moderator, "CHANNEL": channel}
    responses = [json.loads(run(["bash", "-c", curl], deployment.folder, environ).out) for curl in CURLS]
    single, found, failed, batch, denied, denials = responses
    assert (single["state"], found["revocations"][0]["id"]) == ("queued", single["id"])
    assert failed["revocations"] == []
    assert [result["state"] for result in batch["results"]] == ["queued", "queued"]
    assert denials["denials"] == denied["denials"]
    assert denials["denials"][0]["reason"] == "banned for a day"
    again = json.loads(run(["bash", "-c", CURLS[0]], deployment.folder, environ).out)
    assert again == single, "the Idempotency-Key is not stored"


def test_the_printed_response_has_the_real_fields(service: Service, moderator: str, channel: Any) -> None:
    (printed,) = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)
    with service.client(moderator) as client:
        body = json.dumps({"channelArn": channel["arn"], "viewerId": "as-printed"})
        response = client.request("POST", "/v1/revocations", body)
    assert response.status == 202
    assert response.json.keys() == json.loads(printed).keys()


def test_commands_and_requests_see_the_same(
    deployment: Deployment, service: Service, moderator: str, channel: Any
) -> None:
    added = deployment.run("revocations", "add", "--channel", channel["arn"], "--viewer", "by-command", "--json").json
    with service.client(moderator) as client:
        shown = client.get(f"/v1/revocations/{added['id']}").json
        assert shown["caller"] == "the command line"
        assert deployment.run("revocations", "show", added["id"], "--json").json.keys() == shown.keys()
        wait_until(lambda: client.get("/v1/denials").json["denials"], "the denial is in force", 5)
